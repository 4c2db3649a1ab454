"""Tiny pipelines that read every letter, digit and bracket: Stable Diffusion 1 and XL, from the real classes."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan, PlanBase, PlanExpert, Sampler

STRETCH = 16
"""Tokens that the tiny encoders read at once, two markers among them."""


def tokenizer() -> CLIPTokenizer:
    signs = string.ascii_lowercase + string.digits + ",.()[]:\\"
    tokens = ["<|startoftext|>", "<|endoftext|>", *signs, *(f"{sign}</w>" for sign in signs)]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=STRETCH)


def text_config(width: int, layers: int = 3) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=width,
        intermediate_size=16,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=STRETCH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def tiny_vae(latents: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=latents,
        sample_size=8,
    )


def tiny_unet(cross: int, **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=4,
        norm_num_groups=4,
        **more,
    )


@pytest.fixture(scope="session")
def reading_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> folder of its pipeline."""
    root = tmp_path_factory.mktemp("reading")
    torch.manual_seed(5)
    common = {"scheduler": DDIMScheduler(clip_sample=False, steps_offset=1), "feature_extractor": None}
    StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(text_config(8)),
        tokenizer=tokenizer(),
        unet=tiny_unet(8),
        safety_checker=None,
        requires_safety_checker=False,
        **common,
    ).save_pretrained(root / "sd15")
    StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(text_config(8)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(12)),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=tiny_unet(
            20, addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=36
        ),
        **common,
    ).save_pretrained(root / "sdxl")
    return {"sd15": root / "sd15", "sdxl": root / "sdxl"}


@pytest.fixture(scope="session")
def reading_engines(reading_dirs: dict[str, Path]) -> dict[str, Engine]:
    return {name: Engine(folder, device="cpu") for name, folder in reading_dirs.items()}


@dataclass(frozen=True)
class Reader:
    """An engine over one of the tiny pipelines, and plans for it."""

    engine: Engine

    @property
    def encoders(self) -> list[torch.nn.Module]:
        found = (getattr(self.engine.pipe, name, None) for name in ("text_encoder", "text_encoder_2"))
        return [encoder for encoder in found if encoder is not None]

    def plan(self, prompt: str, **more: Any) -> MergePlan:
        base = PlanBase(ref="tiny", family="tiny", sha256=self.engine.base.sha256)
        return MergePlan(base=base, prompt=prompt, **({"sampler": Sampler(steps=2)} | more))

    def locate(self, expert: PlanExpert) -> Path:
        raise KeyError(expert.id)


@pytest.fixture(params=["sd15", "sdxl"])
def reader(request: pytest.FixtureRequest, reading_engines: dict[str, Engine]) -> Reader:
    reading_engines[request.param].reset()
    return Reader(reading_engines[request.param])
