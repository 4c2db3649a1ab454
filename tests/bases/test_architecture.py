"""The base family that an adapter's tensor names and shapes show, at the sizes of the released models."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgraph.bases.architecture import family_of_header
from diffgraph.files.header import Header, TensorInfo


def header(metadata=None, **modules):
    """A rank-4 LoRA on modules of (rows, columns), kohya's names if flat, PEFT's if dotted."""
    shapes = {}
    for name, (rows, columns) in modules.items():
        down, up = ("lora_A", "lora_B") if "." in name else ("lora_down", "lora_up")
        shapes |= {f"{name}.{down}.weight": (4, columns), f"{name}.{up}.weight": (rows, 4)}
    return Header(Path("x.safetensors"), 0, {k: TensorInfo("F16", s, 0, 0) for k, s in shapes.items()}, metadata or {})


CASES = [
    ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 320, 768, "sd15"),
    ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v", 320, 1024, "sd21"),
    ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 640, 2048, "sdxl"),
    ("transformer.transformer_blocks.3.attn.to_q", 1536, 1536, "sd3"),
    ("transformer.transformer_blocks.30.attn.add_q_proj", 2432, 2432, "sd3"),
    ("lora_unet_joint_blocks_3_x_block_attn_qkv", 4608, 1536, "sd3"),
    ("lora_unet_double_blocks_3_img_attn_qkv", 9216, 3072, "flux1"),
    ("lora_unet_single_blocks_3_linear1", 21504, 3072, "flux1"),
    ("transformer.single_transformer_blocks.3.attn.to_q", 3072, 3072, "flux1"),
    ("diffusion_model.double_blocks.3.img_attn.qkv", 18432, 6144, "flux2"),
    ("diffusion_model.double_blocks.3.img_mlp.0", 18432, 3072, "flux2"),
    ("lora_unet_single_blocks_3_linear1", 27648, 3072, "flux2"),
    ("transformer.single_transformer_blocks.3.attn.to_qkv_mlp_proj", 27648, 3072, "flux2"),
    ("transformer.transformer_blocks.3.img_mlp.net.2", 3072, 12288, "qwen_image"),
    ("diffusion_model.transformer_blocks.40.attn.to_q", 3072, 3072, "qwen_image"),
    ("lora_unet_layers_3_attention_to_q", 3840, 3840, "z_image"),
    ("diffusion_model.layers.3.attention.qkv", 11520, 3840, "z_image"),
    ("transformer.transformer_blocks.3.attn.to_q", 3072, 3072, None),  # FLUX.1 and Qwen-Image both have it
]


@pytest.mark.parametrize(("module", "rows", "columns", "family"), CASES)
def test_by_names_and_sizes(module: str, rows: int, columns: int, family: str | None) -> None:
    assert family_of_header(header(**{module: (rows, columns)})) == family


def test_trainer_metadata_decides_where_shapes_do_not() -> None:
    unclear = {"transformer.transformer_blocks.3.attn.to_q": (3072, 3072)}
    for said, family in (("Qwen-Image", "qwen_image"), ("flux-1-dev/lora", "flux1"), ("flux2_dev", "flux2")):
        assert family_of_header(header({"modelspec.architecture": said}, **unclear)) == family
