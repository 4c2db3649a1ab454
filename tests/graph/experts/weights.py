"""Tiny weight files of the real shapes, for folders as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def lora(path: Path, value: float = 1.0, *, meta: dict[str, str] | None = None, width: int = 768) -> Path:
    """A LoRA of Stable Diffusion 1.5 (768) or SDXL (2048) as kohya's scripts write it; ``value`` tells files apart."""
    down, up = np.full((2, width), value, np.float16), np.ones((320, 2), np.float16)
    return save(path, {f"{UNET}.lora_down.weight": down, f"{UNET}.lora_up.weight": up}, meta)


def language_adapter(path: Path) -> Path:
    """What PEFT saves of a language model."""
    stem = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    return save(path, {stem.format(n, side): np.ones((4, 4), np.float16) for n in range(2) for side in "AB"})


def video_lora(path: Path) -> Path:
    """A LoRA of Wan, under ComfyUI's names."""
    stem = "diffusion_model.blocks.{}.cross_attn.k.lora_{}.weight"
    return save(path, {stem.format(n, side): np.ones((4, 4), np.float16) for n in range(2) for side in "AB"})


def save(path: Path, tensors: dict[str, np.ndarray], meta: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=meta)
    return path
