"""A merge's deltas as the tensors of one LoRA file, in the names of diffusers or of kohya.

The scale is folded into the factors, so no reader has anything left to guess. diffusers' layout says alpha = rank,
module by module, in ``lora_adapter_metadata``. kohya's says it in ``.alpha`` tensors, where one alpha (the commonest
rank) stands for all modules, as diffusers 0.42 loses track of alphas that differ; modules of another rank have the
ratio in ``lora_up``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from ...bases.index import BaseIndex
from ...errors import PlanError
from ..deltas.delta import Delta

Layout = Literal["diffusers", "kohya"]

_EMBEDDINGS = frozenset({"token_embedding", "position_embedding", "shared", "embed_tokens", "relative_attention_bias"})
"""Last parts of module names whose weights are looked up and not multiplied with: LoRA loaders pass them over."""
_TEXT = MappingProxyType({"text_encoder": "te1", "text_encoder_2": "te2", "text_encoder_3": "te3"})


def fits_lora(target: str, shape: tuple[int, ...]) -> bool:
    """Whether a LoRA can hold a delta of this target: the weight of a linear layer or of a convolution."""
    module, _, parameter = target.rpartition(".")
    return parameter == "weight" and len(shape) >= 2 and module.rpartition(".")[2] not in _EMBEDDINGS


def lora_tensors(
    deltas: Mapping[str, Delta], base: BaseIndex, layout: Layout, dtype: torch.dtype
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensor name -> tensor, metadata) of a LoRA file.

    Args:
        deltas: target -> a delta in factors; every target `fits_lora`.
        base: whose weights these are.
        layout: "diffusers" (also read by ComfyUI), or "kohya" (A1111, ComfyUI and diffusers).
        dtype: of the factors.

    Raises:
        PlanError: kohya names for a base whose denoiser is no UNet: they name other, fused modules there.
    """
    if layout == "kohya" and base.denoiser != "unet":
        raise PlanError(
            f"kohya's names for a {base.denoiser} are of other modules than diffusers': use --layout diffusers"
        )
    names = _kohya_names(base) if layout == "kohya" else _diffusers_names
    ranks = {target.rpartition(".")[0]: delta.rank or 0 for target, delta in deltas.items()}
    alpha = _commonest(ranks) if ranks else 1
    tensors: dict[str, Tensor] = {}
    for target, delta in sorted(deltas.items()):
        assert delta.up is not None
        assert delta.down is not None
        down_name, up_name, alpha_name = names(target.rpartition(".")[0])
        rank = delta.down.shape[0]
        up = delta.up if rank == alpha or not alpha_name else delta.up * (rank / alpha)
        up, down = up.to(dtype), delta.down.to(dtype)
        if len(delta.shape) > 2:
            up = up.reshape(*up.shape, *(1 for _ in delta.shape[2:]))
            down = down.reshape(rank, *delta.shape[1:])
        tensors[down_name], tensors[up_name] = down.contiguous(), up.contiguous()
        if alpha_name:
            tensors[alpha_name] = torch.tensor(float(alpha), dtype=torch.float32)
    return tensors, _kohya_metadata(ranks, alpha) if layout == "kohya" else _diffusers_metadata(ranks)


def _commonest(ranks: Mapping[str, int]) -> int:
    """The rank of most modules, the smallest of equals."""
    return min(Counter(ranks.values()).items(), key=lambda item: (-item[1], item[0]))[0]


def _diffusers_names(module: str) -> tuple[str, str, str]:
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight", ""


def _kohya_names(base: BaseIndex) -> Callable[[str], tuple[str, str, str]]:
    single = "text_encoder_2" not in base.files

    def names(module: str) -> tuple[str, str, str]:
        component, _, rest = module.partition(".")
        if component in _TEXT:
            # The names are older than transformers 5, which took ``text_model`` out of CLIP's.
            prefix, rest = ("te" if single else _TEXT[component]), f"text_model.{rest.removeprefix('text_model.')}"
        else:
            prefix = "unet"
        flat = f"lora_{prefix}_{rest.replace('.', '_')}"
        return f"{flat}.lora_down.weight", f"{flat}.lora_up.weight", f"{flat}.alpha"

    return names


def _diffusers_metadata(ranks: Mapping[str, int]) -> dict[str, str]:
    """The adapter configuration as diffusers writes it: PEFT's LoraConfig, each field with its component in front."""
    flat: dict[str, object] = {}
    for component in sorted({module.partition(".")[0] for module in ranks}):
        own = {m.partition(".")[2]: rank for m, rank in sorted(ranks.items()) if m.partition(".")[0] == component}
        common = _commonest(own)
        patterns = {_pattern(name, own): rank for name, rank in own.items() if rank != common}
        fields = {
            "r": common,
            "lora_alpha": common,
            "rank_pattern": patterns,
            "alpha_pattern": patterns,
            "target_modules": sorted(own),
            "peft_type": "LORA",
        }
        flat |= {f"{component}.{name}": value for name, value in fields.items()}
    return {"lora_adapter_metadata": json.dumps(flat, sort_keys=True)}


def _pattern(name: str, names: Mapping[str, int]) -> str:
    """PEFT matches the ends of names: one that is the end of another is tied to the start."""
    return f"^{name}" if any(other.endswith(f".{name}") for other in names) else name


def _kohya_metadata(ranks: Mapping[str, int], alpha: int) -> dict[str, str]:
    # "Dynamic" is what kohya's own resizing writes for ranks that differ.
    dim = str(next(iter(ranks.values()))) if len(set(ranks.values())) == 1 else "Dynamic"
    return {"ss_network_module": "networks.lora", "ss_network_dim": dim, "ss_network_alpha": str(alpha)}
