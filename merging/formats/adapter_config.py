"""The adapter configuration in a LoRA file's metadata (``lora_adapter_metadata``, as diffusers writes it, and kin).

It is a JSON object of the fields of PEFT's LoraConfig, LoHaConfig, LoKrConfig or OFTConfig: each with its component in
front (``unet.lora_alpha``), in an object for each component, or plain, for all of them. Fields that change what the
adapter computes are honoured or refused; a field that is not known is refused unless it is off.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...bases.index import COMPONENTS
from ...files.header import Header
from .format import expert_error

METADATA_KEYS = ("lora_adapter_metadata", "adapter_config", "lora_config", "peft_config")
BESIDE = "adapter_config.json"
"""Where PEFT writes its configuration: beside the file."""
_MAX_BYTES = 4 * 2**20
_HARMLESS = frozenset(
    {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_bias", "init_lora_weights"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "inference_mode"}
    | {"peft_type", "peft_version", "task_type", "revision", "base_model_name_or_path", "auto_mapping"}
    | {"megatron_core", "qalora_group_size", "runtime_config", "eva_config", "ensure_weight_tying", "adapter_name"}
    | {"use_dora", "alpha", "init_weights", "rank_dropout", "rank_dropout_scale", "module_dropout"}
    | {"use_effective_conv2d", "decompose_both", "decompose_factor"}
    | {"oft_block_size", "block_share", "eps", "use_cayley_neumann", "num_cayley_neumann_terms"}
)
"""Fields that are read below, or that matter in training only."""
_SAFE_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Other initialisations (PiSSA, OLoRA, CorDA, LoftQ, …) also change the base, so the file alone is not the delta."""
_OFF: tuple[Any, ...] = (None, False, "none", [], {}, "")
_TYPES = ("LORA", "LOHA", "LOKR", "OFT")
_LITERAL = re.compile(r"^\^?[\w.\\-]+\$?$")


@dataclass(frozen=True)
class AdapterConfig:
    """The part of a configuration that decides what one component's adapter computes.

    ``neumann_terms`` is 0 where OFT uses the exact Cayley transform. ``peft_type``, ``rank`` and ``dora`` are None
    where it does not say. ``source`` is where it was read.
    """

    alpha: float
    peft_type: str | None = None
    rank: int | None = None
    ranks: dict[str, int] = field(default_factory=dict)
    alphas: dict[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool | None = None
    block_share: bool = False
    neumann_terms: int = 5
    source: str = ""

    def scale(self, header: Header, module: str, rank: int | None) -> float:
        """alpha/rank, or alpha/sqrt(rank), for a module of true rank ``rank`` (None: its shapes do not show it).

        Raises:
            ExpertError: the rank is not the one that the configuration gives, or alpha is 0.
        """
        said = _lookup(self.ranks, module, self.rank)
        if rank is None:
            rank = said
        if rank is None:
            return 1.0
        if said not in (None, rank):
            raise expert_error(header, f"has rank {rank} in {module}, but its metadata says {said}")
        alpha = _lookup(self.alphas, module, self.alpha)
        if alpha == 0:
            raise expert_error(header, f"has alpha 0 for {module} in its metadata, so it would do nothing")
        return alpha / (math.sqrt(rank) if self.rslora else rank)


def _lookup(patterns: dict[str, Any], module: str, default: Any) -> Any:
    """As PEFT looks patterns up: the first one that equals the module's name or its last dotted parts."""
    for pattern, value in patterns.items():
        name = pattern.removesuffix("$").replace("\\", "")
        if name.startswith("^"):
            if module == name[1:]:
                return value
        elif module == name or module.endswith(f".{name}"):
            return value
    return default


def adapter_configs(header: Header) -> dict[str, AdapterConfig]:
    """Component ("" for all) -> configuration; empty if the file carries none, nor PEFT's file of them lies beside.

    Raises:
        ExpertError: malformed, or it asks for something that is not understood.
    """
    out: dict[str, AdapterConfig] = {}
    for key in METADATA_KEYS:
        if (text := header.metadata.get(key)) is None:
            continue
        for component, config in _configs(header, key, text).items():
            if component in out and out[component] != replace(config, source=out[component].source):
                raise expert_error(header, f"says different things in {key} and {out[component].source}")
            out.setdefault(component, config)
    lost = [key for key in header.keys if key.startswith("base_model.model.")]
    if not out and (lost or header.path.name.startswith("adapter_model")):
        beside = header.path.with_name(BESIDE)
        if beside.is_file():
            return _configs(header, BESIDE, _text(header, beside))
        if lost:
            what = f"keeps its alpha in a separate {BESIDE}, which does not lie beside it: put it there"
            raise expert_error(header, what, lost)
    return out


def _text(header: Header, path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise expert_error(header, f"has {path.stat().st_size} bytes of {BESIDE} beside it")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise expert_error(header, f"has a {BESIDE} beside it that cannot be read") from error


def _configs(header: Header, where: str, text: str) -> dict[str, AdapterConfig]:
    """The configurations in one JSON text."""
    if len(text) > _MAX_BYTES:
        raise expert_error(header, f"has {len(text)} characters of {where}")
    try:
        flat = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise expert_error(header, f"has a {where} that is not JSON ({error})") from error
    if not isinstance(flat, dict):
        raise expert_error(header, f"has a {where} that is not an object")
    grouped: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        component, dot, name = key.partition(".")
        if component in COMPONENTS and name:
            grouped.setdefault(component, {})[name] = value
        elif key in (*COMPONENTS, "default") and isinstance(value, dict):
            grouped.setdefault(key.removesuffix("default"), {}).update(value)
        elif not dot:
            grouped.setdefault("", {})[key] = value
        else:
            raise expert_error(header, f"has a {where} with the entry {key!r}, which is not understood")
    return {component: _config(header, component, where, fields) for component, fields in grouped.items()}


def _config(header: Header, component: str, where: str, fields: dict[str, Any]) -> AdapterConfig:
    for name, value in sorted(fields.items()):
        if name not in _HARMLESS and value not in _OFF:
            asked = f"{component}.{name}".lstrip(".")
            raise expert_error(header, f"asks for {asked}={value!r} in its metadata: not understood ({where})")
    if (init := fields.get("init_lora_weights", True)) not in _SAFE_INITS:
        raise expert_error(header, f"was initialised with {init!r}, which changes the base itself: not understood")
    if (peft_type := fields.get("peft_type", "LORA")) not in _TYPES:
        raise expert_error(header, f"says that it is {peft_type!r} in its metadata; known are {', '.join(_TYPES)}")
    rank, alpha = fields.get("r"), fields.get("lora_alpha" if peft_type == "LORA" else "alpha")
    if peft_type == "OFT":  # its r may be 0 (then the block size is given), and it has no alpha
        rank, alpha = 1, 1
    ranks, alphas = fields.get("rank_pattern") or {}, fields.get("alpha_pattern") or {}
    if rank is None and "r" not in fields and _number(alpha):
        rank = None  # the tensors show it
    elif type(rank) is not int or rank < 1 or not _number(alpha):
        told = f"r={rank!r}, lora_alpha={alpha!r} for {component or 'everything'}"
        raise expert_error(header, f"has {told} in its {peft_type} metadata ({where})")
    for patterns in (ranks, alphas):
        if not isinstance(patterns, dict) or not all(map(_number, patterns.values())):
            raise expert_error(header, f"has a malformed rank or alpha pattern for {component}")
        if odd := [pattern for pattern in patterns if not _LITERAL.match(pattern)]:
            raise expert_error(header, f"has patterns that are no plain module names: {odd[:3]}")
    for name in ("use_rslora", "use_dora", "block_share", "use_cayley_neumann"):
        if not isinstance(fields.get(name, False), bool):
            raise expert_error(header, f"has {name}={fields[name]!r}")
    rslora, share = (fields.get(name, False) for name in ("use_rslora", "block_share"))
    terms = fields.get("num_cayley_neumann_terms", 5) if fields.get("use_cayley_neumann", True) else 0
    if type(terms) is not int or not 0 <= terms <= 100:
        raise expert_error(header, f"has num_cayley_neumann_terms={terms!r}")
    return AdapterConfig(
        alpha=float(alpha or 0),
        peft_type=peft_type,
        rank=rank,
        ranks=ranks,
        alphas=alphas,
        rslora=rslora,
        dora=fields.get("use_dora"),
        block_share=share,
        neumann_terms=terms,
        source=where,
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
