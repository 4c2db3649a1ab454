"""LoRA, in the key layouts of PEFT/diffusers (new and old names) and of kohya; Linear and convolution, tucker mid.

``delta = scale * up @ down`` where ``scale = alpha / rank``, or ``alpha / sqrt(rank)`` for rank-stabilised LoRA
(https://arxiv.org/abs/2106.09685, https://arxiv.org/abs/2312.03732). A convolution's down factor (r, in, kh, kw) is
seen as (r, in kh kw); a tucker ``mid`` (r, r, kh, kw) is folded into it. Alpha comes from ``.alpha`` tensors (kohya) or
from the adapter configuration in the file's metadata (`adapter_config`); where neither speaks, alpha is the rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..base import COMPONENTS, BaseIndex, target_name
from ..header import FileKind, Header
from .adapter_config import AdapterConfig, adapter_configs
from .registry import Format, TargetInfo, expert_error, load_tensors, map_file, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..delta import Delta, Factors
    from ..mapped import MappedFile

_PART = re.compile(
    r"^(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_down|lora_up|lora_mid|lora\.down|lora\.up"
    r"|lora_linear_layer\.down|lora_linear_layer\.up)(?:\.(?!(?:weight|bias)$)[^.]+)?\.(?P<param>weight|bias)$"
)
_PROCESSOR = re.compile(
    r"^(?P<module>.+?)\.(?:processor\.)?(?P<proj>to_q|to_k|to_v|to_out)_lora\.(?P<part>down|up)\.weight$"
)
_ROLE = {
    "lora_A": "down",
    "lora_down": "down",
    "lora.down": "down",
    "lora_linear_layer.down": "down",
    "lora_mid": "mid",
}
_KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
_NOT_PLAIN = ("dora_scale", "lora_magnitude_vector")
"""Marks of DoRA, which shares LoRA's factor names but not its formula."""


@dataclass
class _Parts:
    """The keys that make up one module's adapter."""

    roles: dict[str, str] = field(default_factory=dict)
    """role ("up", "down", "mid", "bias", "alpha") -> key"""

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self.roles.values()))


@register
class LoRA(Format):
    name = "lora"

    def detect(self, header: Header) -> FileKind | None:
        if not any(_PART.match(key) or _PROCESSOR.match(key) for key in header.keys):
            return None
        if any(key.endswith(_NOT_PLAIN) or f".{_NOT_PLAIN[1]}" in key for key in header.keys):
            return None
        kohya = any(key.startswith(tuple(_KOHYA)) for key in header.keys)
        spatial = any(".lora_down." in k and math.prod(t.shape[2:]) > 1 for k, t in header.tensors.items())
        return "locon" if kohya and spatial else "lora"

    def rank(self, header: Header) -> int | None:
        sizes = [header.tensors[p.roles["down"]].shape[0] for p in _group(header).values() if "down" in p.roles]
        return max(sizes, default=None)

    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        header = _single(files)
        out: dict[str, TargetInfo] = {}
        for module, parts in _named(header, base).items():
            rows, columns, _ = _sizes(header, parts)
            keys = tuple(key for key in parts.keys if key != parts.roles.get("bias"))
            out[f"{module}.weight"] = TargetInfo(keys, rows, columns)
            if "bias" in parts.roles:
                out[f"{module}.bias"] = TargetInfo((parts.roles["bias"],), rows, 1)
        return out

    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        from ..delta import Delta

        header = _single(files)
        configs = adapter_configs(header)
        file = map_file(header, header.keys)
        out: dict[str, Delta] = {}
        for module, parts in _named(header, base).items():
            small = load_tensors(header, [parts.roles[role] for role in ("alpha", "bias") if role in parts.roles])
            scale = _scale(header, module, parts, _sizes(header, parts)[2], small, configs)
            factors = _factors(header, file, parts, scale)
            shape = base.shape(f"{module}.weight") or (factors.up.shape[0], factors.down.shape[1])
            out[f"{module}.weight"] = Delta(shape, factors=[factors])
            if "bias" in parts.roles:
                out[f"{module}.bias"] = Delta.of(small[parts.roles["bias"]] * scale)
        if bad := [target for target, delta in out.items() if not delta.finite()]:
            load_tensors(header, header.keys)  # says so if it is the file that holds NaN or infinite values
            raise expert_error(header, "overflows once its scale is applied", bad)
        return out


def _factors(header: Header, file: MappedFile, parts: _Parts, scale: float) -> Factors:
    """The factors as they stand in the file, if they can; else in float32, a tucker core folded in."""
    from ..delta import STORED, Factors

    up, down = file.tensor(parts.roles["up"]), file.tensor(parts.roles["down"])
    if up.dtype in STORED and down.dtype in STORED and "mid" not in parts.roles:
        return Factors(up.flatten(1), down.flatten(1), scale, file)
    import torch

    tensors = load_tensors(header, [parts.roles[role] for role in ("up", "down", "mid") if role in parts.roles])
    up, down = tensors[parts.roles["up"]], tensors[parts.roles["down"]]
    if "mid" in parts.roles:
        down = torch.einsum("rs...,si->ri...", tensors[parts.roles["mid"]], down.flatten(1))
    return Factors(up.flatten(1), down.flatten(1).contiguous(), scale)


def _single(files: Sequence[Header]) -> Header:
    if len(files) != 1:
        raise expert_error(files[0], f"is one of {len(files)} files; a LoRA is one file: name it")
    return files[0]


def _group(header: Header) -> dict[str, _Parts]:
    """Module name as written in the file -> its keys. Raises ExpertError for keys that are not understood."""
    modules: dict[str, _Parts] = {}
    unknown: list[str] = []
    for key in header.keys:
        module, role = _split(key)
        if role is None:
            unknown.append(key)
            continue
        parts = modules.setdefault(module, _Parts())
        if role in parts.roles:
            raise expert_error(header, f"has two keys for the {role} of {module}", (parts.roles[role], key))
        parts.roles[role] = key
    if unknown:
        raise expert_error(header, "has keys that are not understood", unknown)
    for module, parts in modules.items():
        if not {"up", "down"} <= set(parts.roles):
            raise expert_error(header, f"has only one half of the factors of {module}", parts.keys)
    return modules


def _split(key: str) -> tuple[str, str | None]:
    """(module, role) of a key, role None if the key is not understood."""
    if found := _PART.match(key):
        role = _ROLE.get(found["part"], "up")
        if found["param"] == "weight":
            return found["module"], role
        return found["module"], "bias" if role == "up" else None
    if found := _PROCESSOR.match(key):
        projection = "to_out.0" if found["proj"] == "to_out" else found["proj"]
        return f"{found['module']}.{projection}", found["part"]
    if key.endswith(".alpha"):
        return key.removesuffix(".alpha"), "alpha"
    return key, None


def _named(header: Header, base: BaseIndex) -> dict[str, _Parts]:
    """``component.module`` (names of the base) -> parts."""
    out: dict[str, _Parts] = {}
    unknown: list[str] = []
    for module, parts in _group(header).items():
        name = _canonical(module, base)
        if name is None:
            unknown.extend(parts.keys)
        elif name in out:
            raise expert_error(header, f"has two adapters for {name}", (*out[name].keys, *parts.keys))
        else:
            out[name] = parts
    if unknown:
        raise expert_error(header, "names modules that this base does not have, in a flat layout", unknown)
    return out


def _canonical(module: str, base: BaseIndex) -> str | None:
    """The base's name for a module, or None for a flat kohya name that leads nowhere."""
    for prefix, component in _KOHYA.items():
        if module.startswith(prefix):
            flat = module.removeprefix(prefix)
            component = base.denoiser if component == "unet" else component
            if component.startswith("text_encoder"):
                flat = flat.removeprefix("text_model_")
            return base.by_underscore.get(f"{component}_{flat}")
    module = module.removeprefix("base_model.model.")
    component, _, rest = module.partition(".")
    if component not in COMPONENTS or not rest:
        component, rest = base.denoiser, module
    return target_name(component, rest)


def _sizes(header: Header, parts: _Parts) -> tuple[int, int, int]:
    """(rows, columns, rank) of a module's delta, from shapes alone. Raises ExpertError if they do not fit together."""
    up = header.tensors[parts.roles["up"]].shape
    down = header.tensors[parts.roles["down"]].shape
    mid = header.tensors[parts.roles["mid"]].shape if "mid" in parts.roles else None
    if len(up) < 2 or len(down) < 2 or math.prod(up[2:]) != 1:
        raise expert_error(header, f"has factors of shapes {up} and {down}, which are no LoRA", parts.keys)
    rank = down[0]
    if rank == 0 or 0 in up or 0 in down:
        raise expert_error(header, "has rank 0 or an empty factor", parts.keys)
    columns = math.prod(down[1:])
    if mid is not None:
        if len(mid) < 3 or mid[1] != down[0] or math.prod(down[2:]) != 1 or 0 in mid:
            raise expert_error(header, f"has a tucker core {mid} that does not fit {down}", parts.keys)
        rank, columns = mid[0], down[1] * math.prod(mid[2:])
    if up[1] != rank:
        raise expert_error(header, f"has factors of different rank: {up} and {down}", parts.keys)
    bias = parts.roles.get("bias")
    if bias is not None and header.tensors[bias].shape != (up[0],):
        raise expert_error(header, "has a bias that does not fit its factor", (bias,))
    return up[0], columns, rank


def _scale(
    header: Header,
    module: str,
    parts: _Parts,
    rank: int,
    tensors: dict[str, Tensor],
    configs: dict[str, AdapterConfig],
) -> float:
    """What ``up @ down`` is multiplied with. Raises ExpertError for an alpha of 0 and for sources that disagree."""
    component, _, name = module.partition(".")
    config = configs.get(component)
    from_config = None if config is None else config.scale(header, name, rank)
    if (key := parts.roles.get("alpha")) is None:
        return 1.0 if from_config is None else from_config
    if tensors[key].numel() != 1:
        raise expert_error(header, "has an alpha that is not one number", (key,))
    alpha = float(tensors[key].reshape(()))
    if alpha == 0.0:
        raise expert_error(header, "has alpha 0, so it would do nothing", (key,))
    scale = alpha / rank
    if from_config is not None and not math.isclose(scale, from_config, rel_tol=1e-3):
        raise expert_error(header, f"says scale {from_config:g} in its metadata but {scale:g} in its alpha", (key,))
    return scale
