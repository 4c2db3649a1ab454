"""FLUX.1's transformer in Black Forest Labs' layout under diffusers' names, at any width.

diffusers' own converter is written for the released width, 3072; this one reads the width off the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

WIDTH = 3072
_IN = "img_in.weight"
_OUTSIDE = {
    "time_in": "time_text_embed.timestep_embedder", "vector_in": "time_text_embed.text_embedder",
    "guidance_in": "time_text_embed.guidance_embedder", "txt_in": "context_embedder", "img_in": "x_embedder",
    "final_layer.linear": "proj_out", "final_layer.adaLN_modulation.1": "norm_out.linear",
}  # fmt: skip
_DOUBLE = {
    "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear", "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out", "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
    "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k",
}  # fmt: skip
_SINGLE = {
    "modulation.lin": "norm.linear", "linear2": "proj_out", "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}  # fmt: skip
_FUSED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}


def of_other_width(shapes: Mapping[str, Any], prefix: str) -> bool:
    """Whether these are FLUX.1's weights, not as wide as the released ones; values have a ``shape``."""
    first = shapes.get(f"{prefix}{_IN}")
    own = (
        f"{prefix}single_blocks.0.linear1.weight",
        f"{prefix}vector_in.in_layer.weight",
    )  # the second is not FLUX.2's
    return first is not None and all(name in shapes for name in own) and first.shape[0] != WIDTH


def renamed(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights without a prefix -> the same under diffusers' names. Raises KeyError for a name that is not FLUX.1's."""
    import torch

    width, out = weights[_IN].shape[0], dict[str, Any]()
    for key, value in weights.items():
        module, _, parameter = key.rpartition(".")
        parameter = "weight" if parameter == "scale" else parameter
        if (block := re.fullmatch(r"(double|single)_blocks\.(\d+)\.(.+)", module)) is None:
            stem, _, layer = module.rpartition(".")
            embedder = layer in ("in_layer", "out_layer")
            ours = f"{_OUTSIDE[stem]}.linear_{1 if layer == 'in_layer' else 2}" if embedder else _OUTSIDE[module]
            if ours == "norm_out.linear":  # shift and scale stand the other way round
                value = torch.cat(list(reversed(value.chunk(2))))
            out[f"{ours}.{parameter}"] = value
            continue
        where = f"{'single_' if block[1] == 'single' else ''}transformer_blocks.{block[2]}"
        if (names := _FUSED.get(block[3])) is not None:
            sizes = [width] * 3 + [value.shape[0] - 3 * width] * (len(names) - 3)
            out |= {f"{where}.{n}.{parameter}": v for n, v in zip(names, value.split(sizes), strict=True)}
        else:
            ours = (_SINGLE if block[1] == "single" else _DOUBLE)[block[3]]
            out[f"{where}.{ours}.{parameter}"] = value
    return out
