"""What old trainers and embeddings show in other ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffgraph.files.header import Header, read_header
from diffgraph.graph.experts.guesses import family_by_embedding, family_by_trainer, token_of

from .weights import save

LOKR = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lokr_w1": np.ones((4, 4), np.float16)}


def header(tmp_path: Path, tensors: dict[str, np.ndarray], meta: dict[str, str] | None = None) -> Header:
    return read_header(save(tmp_path / "x.safetensors", tensors, meta))


@pytest.mark.parametrize(
    ("meta", "family"),
    [
        ({"ss_v2": "False"}, "sd15"),
        ({"ss_v2": "True"}, "sd21"),
        ({"ss_v2": "False", "ss_base_model_version": "sdxl_base_v1-0"}, None),
        ({"ss_epoch": "3"}, None),
    ],
)
def test_old_trainers(tmp_path: Path, meta: dict[str, str], family: str | None) -> None:
    assert family_by_trainer(header(tmp_path, LOKR, meta)) == family


def test_trainers_of_other_models(tmp_path: Path) -> None:
    flux = {"lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": np.ones((4, 4), np.float16)}
    assert family_by_trainer(header(tmp_path, flux, {"ss_v2": "False"})) is None


def test_embeddings(tmp_path: Path) -> None:
    wide = np.ones((2, 768), np.float32)
    assert family_by_embedding(header(tmp_path, {"emb_params": wide})) == "sd15"
    assert family_by_embedding(header(tmp_path, {"<x>": np.ones((1, 1024), np.float32)})) == "sd21"
    assert family_by_embedding(header(tmp_path, {"clip_l": wide, "clip_g": np.ones((2, 1280), np.float32)})) == "sdxl"
    assert family_by_embedding(header(tmp_path, {"emb_params": np.ones((2, 99), np.float32)})) is None
    assert token_of(header(tmp_path, {"<detail-schemas>": wide}), "ti") == "<detail-schemas>"
    assert token_of(header(tmp_path, {"emb_params": wide}), "ti") == "ti"
