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


OTHERS = [
    ("transformer.transformer_blocks.3.attn2.to_k", 2048, 2048, None),  # LTX-Video: SDXL's width, but no UNet
    ("diffusion_model.transformer_blocks.3.attn2.to_v", 768, 768, None),
    ("lora_unet_double_blocks_3_img_mlp_fc1", 12288, 3072, "hunyuan_video"),
    ("diffusion_model.double_blocks.3.img_attn_qkv", 9216, 3072, "hunyuan_video"),
    ("transformer.joint_transformer_blocks.1.attn.to_q", 3072, 3072, "auraflow"),
    ("transformer.single_transformer_blocks.3.attn.to_out.0", 3072, 3072, "auraflow"),
    ("lora_unet_distilled_guidance_layer_layers_0_in_layer", 5120, 5120, "chroma"),
    ("transformer.single_transformer_blocks.3.attn.to_out", 3072, 12288, "flux2"),
    ("diffusion_model.single_blocks.3.linear2", 3072, 12288, "flux2"),
    ("diffusion_model.single_blocks.3.linear2", 3072, 15360, "flux1"),
    ("lora_unet_mid_block_attentions_0_transformer_blocks_3_attn1_to_q", 1280, 1280, "sdxl"),
    ("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", 640, 640, "sdxl"),
    ("unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 1280, 1280, "sdxl"),
    ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 320, 320, None),
]


def single(count):
    return {f"transformer.single_transformer_blocks.{i}.attn.to_q": (3072, 3072) for i in range(count)}


def blocks(kind, count, rows=9216):
    return {
        f"lora_unet_{kind}_blocks_{i}_" + ("img_attn_qkv" if kind == "double" else "linear2"): (rows, 3072)
        for i in range(count)
    }


@pytest.mark.parametrize(
    ("modules", "said", "family"),
    [
        (blocks("double", 19), {}, "flux1"),
        (blocks("double", 5), {}, None),  # klein's five blocks have attention of FLUX.1's size
        (blocks("double", 5), {"modelspec.architecture": "flux.2-klein-4b"}, "flux2"),
        (blocks("double", 5), {"modelspec.architecture": "flux-1-dev/lora"}, "flux1"),
        (blocks("double", 20), {}, "hunyuan_video"),
        (blocks("double", 19), {"ss_base_model_version": "chroma"}, "chroma"),
        (blocks("double", 19), {"ss_base_model_version": "sdxl_base_v1-0"}, "flux1"),
        (single(32), {}, None),
        (single(38), {}, "flux1"),
        (single(40), {}, "hunyuan_video"),
    ],
)  # fmt: skip
def test_what_families_share_is_told_by_the_number_of_blocks_or_by_words(modules, said, family):
    assert family_of_header(header(said, **modules)) == family


def test_a_card_decides_only_among_families_that_the_tensors_leave_open():
    chroma = {"transformer.transformer_blocks.3.attn.to_q": (3072, 3072)} | {
        f"transformer.single_transformer_blocks.{i}.attn.to_q": (3072, 3072) for i in range(38)
    }
    assert family_of_header(header(**chroma), "lodestones/Chroma1-HD") == "chroma"
    assert family_of_header(header(**chroma), "stabilityai/stable-diffusion-xl-base-1.0") == "flux1"
    sure = {"lora_unet_double_blocks_3_img_mod_lin": (18432, 3072)}
    assert family_of_header(header(**sure), "lodestones/Chroma1-HD") == "flux1"


@pytest.mark.parametrize(("module", "rows", "columns", "family"), [*CASES, *OTHERS])
def test_by_names_and_sizes(module: str, rows: int, columns: int, family: str | None) -> None:
    assert family_of_header(header(**{module: (rows, columns)})) == family


def test_trainer_metadata_decides_where_shapes_do_not() -> None:
    unclear = {"transformer.transformer_blocks.3.attn.to_q": (3072, 3072)}
    for said, family in (("Qwen-Image", "qwen_image"), ("flux-1-dev/lora", "flux1"), ("flux2_dev", "flux2")):
        assert family_of_header(header({"modelspec.architecture": said}, **unclear)) == family
