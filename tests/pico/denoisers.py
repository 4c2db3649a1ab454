"""Pico denoisers of every family, from the real classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    ChromaTransformer2DModel,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    HiDreamImageTransformer2DModel,
    Lumina2Transformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)


def _unet(**more: Any) -> torch.nn.Module:
    plain = {
        "sample_size": 4,
        "layers_per_block": 2,
        "block_out_channels": (8, 16),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**plain | more)


def sd15(**more: Any) -> torch.nn.Module:
    plain = {
        "cross_attention_dim": 12,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return _unet(**plain | more)


def sdxl(**more: Any) -> torch.nn.Module:
    plain = {
        "cross_attention_dim": 20,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 32,
    }
    return _unet(**plain | more)


def sd3(**more: Any) -> torch.nn.Module:
    plain = {
        "sample_size": 4,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 10,
        "pos_embed_max_size": 4,
        "dual_attention_layers": (0,),
        "qk_norm": "rms_norm",
    }
    return SD3Transformer2DModel(**plain | more)


def flux1(**more: Any) -> torch.nn.Module:
    plain = {
        "in_channels": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "pooled_projection_dim": 10,
        "guidance_embeds": True,
        "axes_dims_rope": (2, 2, 4),
    }
    return FluxTransformer2DModel(**plain | more)


def flux2(**more: Any) -> torch.nn.Module:
    plain = {
        "in_channels": 8,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "timestep_guidance_channels": 8,
        "axes_dims_rope": (2, 2, 2, 2),
    }
    return Flux2Transformer2DModel(**plain | more)


def qwen(**more: Any) -> torch.nn.Module:
    plain = {
        "in_channels": 8,
        "out_channels": 2,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "axes_dims_rope": (2, 2, 4),
    }
    return QwenImageTransformer2DModel(**plain | more)


def z_image(**more: Any) -> torch.nn.Module:
    plain = {
        "in_channels": 4,
        "dim": 16,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 12,
        "axes_dims": [2, 2, 4],
        "axes_lens": [16, 16, 16],
    }
    return ZImageTransformer2DModel(**plain | more)


def chroma(**more: Any) -> torch.nn.Module:
    plain = {
        "in_channels": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "axes_dims_rope": (2, 2, 4),
        "approximator_num_channels": 8,
        "approximator_hidden_dim": 16,
        "approximator_layers": 1,
    }
    return ChromaTransformer2DModel(**plain | more)


def auraflow(**more: Any) -> torch.nn.Module:
    plain = {
        "sample_size": 4,
        "num_mmdit_layers": 2,
        "num_single_dit_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 64,
    }
    return AuraFlowTransformer2DModel(**plain | more)


def lumina2(**more: Any) -> torch.nn.Module:
    plain = {
        "sample_size": 4,
        "in_channels": 4,
        "hidden_size": 24,
        "num_layers": 2,
        "num_refiner_layers": 1,
        "num_attention_heads": 3,
        "num_kv_heads": 1,
        "multiple_of": 8,
        "axes_dim_rope": (4, 2, 2),
        "axes_lens": (300, 128, 128),
        "cap_feat_dim": 12,
    }
    return Lumina2Transformer2DModel(**plain | more)


def sana(**more: Any) -> torch.nn.Module:
    plain = {
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 4,
        "cross_attention_dim": 8,
        "caption_channels": 12,
        "sample_size": 16,
    }
    return SanaTransformer2DModel(**plain | more)


def hidream(**more: Any) -> torch.nn.Module:
    plain = {
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "caption_channels": [12, 8],
        "text_emb_dim": 20,
        "axes_dims_rope": (4, 2, 2),
        "max_resolution": (32, 32),
        "llama_layers": [0, 1],
        "force_inference_output": True,
    }
    return HiDreamImageTransformer2DModel(**plain | more)


MAKERS: dict[str, Callable[..., torch.nn.Module]] = {
    maker.__name__: maker
    for maker in (sd15, sdxl, sd3, flux1, flux2, qwen, z_image, chroma, auraflow, lumina2, sana, hidream)
}
"""Family -> what makes its denoiser; any size can be given another value."""
