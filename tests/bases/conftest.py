"""Tiny pipelines of the real classes, as folders: what a person's own bases are in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast

_WORDS = ("<|startoftext|>", "<|endoftext|>", "a", "red", "fox", "in", "the", "snow")
_BLOCKS = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D")


def _tokenizer(folder: Path) -> None:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(_WORDS)}, unk_token=_WORDS[1]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end = _WORDS[:2]
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=start, eos_token=end, pad_token=end, unk_token=end, model_max_length=77
    ).save_pretrained(folder)


def _clip(width: int, kind: type[CLIPTextModel] | type[CLIPTextModelWithProjection]) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(_WORDS), hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=width, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return kind(config).half()


def _unet(cross: int, **more: object) -> UNet2DConditionModel:
    down, up = _BLOCKS
    return UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, down_block_types=down, up_block_types=up,
        cross_attention_dim=cross, attention_head_dim=8, **more,
    ).half()  # fmt: skip


def _pipeline(folder: Path, pipeline: str, parts: dict[str, tuple[str, object]]) -> Path:
    folder.mkdir(parents=True)
    listing: dict[str, object] = {"_class_name": pipeline, "_diffusers_version": "0.42.0"}
    for name, (library, part) in parts.items():
        if isinstance(part, str):
            _tokenizer(folder / name)
        else:
            part.save_pretrained(folder / name)  # type: ignore[attr-defined]
        listing[name] = [library, part if isinstance(part, str) else type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(listing))
    return folder


def _vae() -> AutoencoderKL:
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    return AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=down, up_block_types=up, latent_channels=4
    ).half()


@pytest.fixture(scope="session")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Stable Diffusion 1's architecture: its cross-attention reads 768 numbers."""
    torch.manual_seed(0)
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    parts = {
        "unet": ("diffusers", _unet(768)), "vae": ("diffusers", _vae()), "scheduler": ("diffusers", scheduler),
        "text_encoder": ("transformers", _clip(768, CLIPTextModel)), "tokenizer": ("transformers", "CLIPTokenizerFast"),
    }  # fmt: skip
    return _pipeline(tmp_path_factory.mktemp("models") / "tiny-sd15", "StableDiffusionPipeline", parts)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Stable Diffusion XL's architecture: two text encoders, 2048 numbers together."""
    torch.manual_seed(1)
    unet = _unet(
        2048, transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=1280 + 48, use_linear_projection=True,
    )  # fmt: skip
    parts = {
        "unet": ("diffusers", unet), "vae": ("diffusers", _vae()), "scheduler": ("diffusers", EulerDiscreteScheduler()),
        "text_encoder": ("transformers", _clip(768, CLIPTextModel)),
        "text_encoder_2": ("transformers", _clip(1280, CLIPTextModelWithProjection)),
        "tokenizer": ("transformers", "CLIPTokenizerFast"), "tokenizer_2": ("transformers", "CLIPTokenizerFast"),
    }  # fmt: skip
    return _pipeline(tmp_path_factory.mktemp("models") / "tiny-sdxl", "StableDiffusionXLPipeline", parts)
