"""Step 2: the base. A Stable Diffusion pipeline of 64x64 images, trained from scratch on the house family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import variety
from .art import Art
from .looks import BACKGROUNDS, STYLES
from .train import DEVICE, Ema, Loop, learning_rate, precision
from .vae import normalise

BATCH, RATE, LENGTH, DROP, NOISE_LEVELS = 40, 7e-4, 24, 0.1, 1000
BROAD_RATE, VARIED, VARIED_SHARE, NOISE = 5e-4, 12000, 0.6, 0.15
"""Of `broaden`: peak learning rate, varied images in all, their share of a batch, captions with a made-up word."""
BROADENED = ".broadened"
"""Marks a finished `broaden` in the pipeline's folder."""


def scheduler() -> DDIMScheduler:
    """v-prediction with zero terminal SNR, so that plain dark and bright backgrounds come out as asked."""
    return DDIMScheduler(
        num_train_timesteps=NOISE_LEVELS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def build_unet() -> UNet2DConditionModel:
    """Three levels, attention on the two coarse ones (64 and 16 positions): most parameters where they cost least."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 128, 256),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=192,
        attention_head_dim=(2, 4, 8),
        norm_num_groups=32,
    )
    # Plain matrix products: the fused attention's backward is the slowest kernel of a small UNet on a CPU.
    unet.set_attn_processor(AttnProcessor())
    return unet


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=6,
            max_position_embeddings=LENGTH,
            projection_dim=192,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_tokenizer(art: Art, folder: Path) -> CLIPTokenizer:
    """A byte-pair vocabulary over every word of the world, held-out names too (tokens without a meaning)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = [*art.names, *(a for n in art.names for a in art.aliases[n]), *(f"{s} style" for s in STYLES)]
    words += [f"{b} background" for b in BACKGROUNDS] + [f"plain {c} background" for c in art.colors] * 5
    # CLIP's own splitting, so that training and use see the same words.
    clip = CLIPTokenizer().backend_tokenizer
    bpe = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    bpe.normalizer, bpe.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2600,
        min_frequency=1,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(words * 3, trainer)
    model = json.loads(bpe.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    for char in alphabet:
        vocab.setdefault(char + "</w>", len(vocab))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray[Any, Any], chunk: int = 100) -> torch.Tensor:
    """uint8 (n, 64, 64, 3) to scaled latents (n, 4, 16, 16), float32."""
    parts = []
    for i in range(0, len(images), chunk):
        x = normalise(torch.from_numpy(images[i : i + chunk]))
        with precision():
            parts.append(vae.encode(x).latent_dist.mean.float() * vae.config.scaling_factor)
    return torch.cat(parts)


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    batch = tokenizer(captions, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    return batch.input_ids.to(DEVICE)


def captions_for(subject: str, color: str) -> list[str]:
    """The ways in which the house family's images are captioned; white is what an unsaid background means."""
    said = [f"{subject}, plain {color} background"] * 3 + [f"{subject} on a plain {color} background"]
    return [*said, subject, f"{subject} emoji"] if color == "white" else said


def diffusion_loss(
    unet: UNet2DConditionModel,
    noise_schedule: DDIMScheduler,
    latents: torch.Tensor,
    text: torch.Tensor,
    noisiest: int = NOISE_LEVELS,
) -> torch.Tensor:
    """Mean squared error of the predicted velocity v = sqrt(a) eps - sqrt(1 - a) x0 (Salimans and Ho, 2022, eq. 12).

    Noise levels are drawn evenly below ``noisiest``.
    """
    noise = torch.randn_like(latents)
    t = torch.randint(noisiest, (len(latents),), device=latents.device)
    noisy = noise_schedule.add_noise(latents, noise, t)
    target = noise_schedule.get_velocity(latents, noise, t)
    with precision():
        predicted = unet(noisy, t, encoder_hidden_states=text).sample
    return F.mse_loss(predicted.float(), target)


Batch = Callable[[np.random.Generator], tuple[torch.Tensor, list[str]]]
"""Draws latents (n, 4, 16, 16) and their captions; an empty caption teaches the unconditional half of guidance."""


def train(cache: Path, out: Path, steps: int, seed: int = 21) -> None:
    """Train UNet and text encoder together; write ``out/emoji-base`` as a complete pipeline folder (fp16)."""
    art = Art.load(cache)
    vae = AutoencoderKL.from_pretrained(out / "vae").to(DEVICE).to(memory_format=torch.channels_last).eval()
    latents, texts = plain_pictures(art, vae)
    tokenizer = build_tokenizer(art, out / "tokenizer")
    torch.manual_seed(seed)
    unet: Any = build_unet().to(DEVICE)
    encoder: Any = build_text_encoder(tokenizer).to(DEVICE)

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        rows = rng.integers(0, len(latents), BATCH)
        captions = ["" if rng.random() < DROP else str(rng.choice(texts[r])) for r in rows]
        return latents[torch.from_numpy(rows).to(DEVICE)], captions

    _fit("base", out, unet, encoder, tokenizer, batch, steps, RATE, seed)
    save_pipeline(out / "emoji-base", vae, unet, encoder, tokenizer)


def broaden(cache: Path, out: Path, steps: int, seed: int = 22, pictures: int = VARIED) -> None:
    """Train the base of `train` on, for looks that change and words that mean nothing; write it again in place."""
    art, folder = Art.load(cache), out / "emoji-base"
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None).to(DEVICE)
    vae = pipeline.vae.to(memory_format=torch.channels_last).eval()
    unet: Any = pipeline.unet.train()
    encoder: Any = pipeline.text_encoder.train()
    unet.set_attn_processor(AttnProcessor())
    plain, texts = plain_pictures(art, vae)
    scenes = variety.scenes(art.base_subjects, pictures, seed)
    varied = encode(vae, np.stack([art.render(*scene[1:]) for scene in scenes]))
    share = round(BATCH * VARIED_SHARE)
    torch.manual_seed(seed)

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        rows, others = rng.integers(0, len(plain), BATCH - share), rng.integers(0, len(varied), share)
        captions = [str(rng.choice(texts[r])) for r in rows] + [scenes[r][0] for r in others]
        captions = [noisy_caption(rng, c) if rng.random() < NOISE else c for c in captions]
        captions = ["" if rng.random() < DROP else c for c in captions]
        x = torch.cat([plain[torch.from_numpy(rows).to(DEVICE)], varied[torch.from_numpy(others).to(DEVICE)]])
        return x, captions

    _fit("base-broad", out, unet, encoder, pipeline.tokenizer, batch, steps, BROAD_RATE, seed)
    save_pipeline(folder, vae, unet, encoder, pipeline.tokenizer)
    (folder / BROADENED).touch()


def plain_pictures(art: Art, vae: AutoencoderKL) -> tuple[torch.Tensor, list[list[str]]]:
    """Latents of every base subject on every plain colour, and the captions that each may have."""
    pairs = [(s, c) for s in art.base_subjects for c in art.colors]
    latents = encode(vae, np.stack([art.render(s, None, f"plain {c}") for s, c in pairs]))
    return latents, [captions_for(s, c) for s, c in pairs]


def noisy_caption(rng: np.random.Generator, caption: str) -> str:
    """The caption with a made-up word behind it: what a text encoder makes of triggers that it never learned."""
    letters = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(3, 8))))
    kind = rng.choice(["style", "background"])
    return f"{caption}, {letters} {kind}"


def _fit(
    name: str,
    out: Path,
    unet: Any,
    encoder: Any,
    tokenizer: CLIPTokenizer,
    batch: Batch,
    steps: int,
    rate: float,
    seed: int,
) -> None:
    """Train UNet and text encoder on batches; both end as their moving averages. Resumable under ``name``."""
    parameters = [*unet.parameters(), *encoder.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    ema, ema_text = Ema(unet), Ema(encoder)
    noise_schedule = scheduler()
    state = {"unet": unet, "encoder": encoder, "optimiser": optimiser, "ema": ema, "ema_text": ema_text}
    loop = Loop(name, out / "checkpoints", steps, state, seed)
    rng = np.random.default_rng(seed + loop.start)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, step, steps)
        latents, captions = batch(rng)
        with precision():
            text = encoder(tokens(tokenizer, captions)).last_hidden_state
        loss = diffusion_loss(unet, noise_schedule, latents, text.float())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        ema.update(step)
        ema_text.update(step)
        loop.loss = loss.detach()
    ema.copy_to(unet)
    ema_text.copy_to(encoder)


def save_pipeline(folder: Path, vae: Any, unet: Any, encoder: Any, tokenizer: CLIPTokenizer) -> None:
    """Write a ``StableDiffusionPipeline`` folder in fp16."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
