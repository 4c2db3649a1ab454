"""Adapters of language and video models are told by name; adapters of bases that draw are let through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffgraph.files.header import read_header
from diffgraph.graph.experts.outsiders import outsider

from .weights import language_adapter, lora, save, video_lora


def test_language_and_video(tmp_path: Path) -> None:
    assert "language model" in (outsider(read_header(language_adapter(tmp_path / "a.safetensors"))) or "")
    assert "Wan" in (outsider(read_header(video_lora(tmp_path / "b.safetensors"))) or "")
    plain = read_header(save(tmp_path / "c.safetensors", {"x.lora_A.weight": np.ones((2, 2), np.float16)}))
    assert "LTX-Video" in (outsider(plain, said="LTXV") or "")
    assert "HunyuanVideo" in (outsider(plain, "hunyuan_video") or "")


@pytest.mark.parametrize(
    "module",
    [
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "transformer.transformer_blocks.0.attn.to_q",
        "lora_unet_double_blocks_0_img_attn_qkv",
        "transformer.single_transformer_blocks.0.attn.to_q",
        "diffusion_model.layers.0.attention.qkv",
        "transformer_blocks.0.img_mlp.net.0.proj",
        "lora_unet_joint_blocks_0_x_block_attn_qkv",
    ],
)
def test_what_draws_is_let_through(tmp_path: Path, module: str) -> None:
    tensors = {f"{module}.lora_{side}.weight": np.ones((2, 2), np.float16) for side in "AB"}
    assert outsider(read_header(save(tmp_path / "x.safetensors", tensors)), said="SDXL 1.0") is None
    assert outsider(read_header(lora(tmp_path / "y.safetensors")), "sd15", "SD 1.5") is None
