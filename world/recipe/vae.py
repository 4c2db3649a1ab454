"""Step 1: the autoencoder. 64x64 pixels <-> 16x16 latents of 4 channels, trained on every look that experts need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from .art import Art
from .train import DEVICE, Ema, Loop, learning_rate, precision

RATE = 2e-3
CRITIC_RATE, CRITIC_FROM, CRITIC_WEIGHT = 5e-4, 0.6, 0.05
"""Of `refine`: the patch critic's learning rate, the share of the steps before it joins, its weight in the loss."""
REFINED = "decoder-refined"
"""Marks a finished `refine` in the folder of the autoencoder."""
CROP, CROP_BATCH, FULL_BATCH, FULL_SHARE = 32, 32, 16, 0.15
"""The net has no attention: most of the training runs on quarter-size crops, the last steps on whole images."""


def build() -> AutoencoderKL:
    """A 1.4 M-parameter KL autoencoder of three levels without attention."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=64,
        norm_num_groups=8,
        mid_block_add_attention=False,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )


def random_scene(art: Art, rng: np.random.Generator, subjects: list[str]) -> tuple[str, str | None, str]:
    """A subject, a style (none for half of the draws) and a background (plain for two thirds)."""
    style = None if rng.random() < 0.4 else str(rng.choice(art.styles))
    plain = rng.random() < 0.65
    background = f"plain {rng.choice(art.colors)}" if plain else str(rng.choice(art.backgrounds))
    return str(rng.choice(subjects)), style, background


def _pool(art: Art, count: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    images = [art.render(*random_scene(art, rng, art.names), jitter=rng) for _ in range(count)]
    return torch.from_numpy(np.stack(images))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w) in [-1, 1]."""
    return (images.permute(0, 3, 1, 2).float() / 127.5 - 1).to(DEVICE)


def _batch(pool: torch.Tensor, whole: bool) -> torch.Tensor:
    if whole:
        return normalise(pool[torch.randint(len(pool), (FULL_BATCH,))])
    top, left = (int(v) for v in torch.randint(0, pool.shape[1] - CROP + 1, (2,)))
    return normalise(pool[torch.randint(len(pool), (CROP_BATCH,)), top : top + CROP, left : left + CROP])


def _loss(model: AutoencoderKL, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What training makes small, and the images (n, 3, h, w) that came back."""
    posterior = model.encode(x).latent_dist
    # A fixed noise floor on the latents makes the decoder forgiving of the sampler's small errors.
    z = posterior.mean + 0.06 * torch.randn_like(posterior.mean)
    y = model.decode(z).sample.float()
    pixel = F.l1_loss(y, x)
    coarse = F.l1_loss(F.avg_pool2d(y, 4), F.avg_pool2d(x, 4))
    edge = F.l1_loss(y[..., 1:] - y[..., :-1], x[..., 1:] - x[..., :-1]) + F.l1_loss(
        y[..., 1:, :] - y[..., :-1, :], x[..., 1:, :] - x[..., :-1, :]
    )
    size = posterior.mean.float().square().mean()
    return pixel + 0.5 * coarse + 0.5 * edge + 2e-3 * (size - 1).clamp(min=0), y


def patch_critic() -> torch.nn.Sequential:
    """Tells true patches of about 16 pixels from decoded ones: images (n, 3, h, w) to scores (n, 1, h / 4, w / 4)."""
    leaky = torch.nn.LeakyReLU(0.2)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 4, 2, 1),
        leaky,
        torch.nn.Conv2d(32, 64, 4, 2, 1),
        torch.nn.GroupNorm(8, 64),
        leaky,
        torch.nn.Conv2d(64, 64, 3, 1, 1),
        torch.nn.GroupNorm(8, 64),
        leaky,
        torch.nn.Conv2d(64, 1, 3, 1, 1),
    )


def refine(cache: Path, out: Path, steps: int, seed: int = 12) -> None:
    """Train the decoder alone, on whole images, for the textures that styles are made of (dots, blocks, strokes).

    The last steps are taken against a critic of patches (hinge loss, as in VQGAN, arXiv 2012.09841): a mean of the
    pixels that might be is a blur, which no critic takes for a pen's stroke. The latents stay what they are, so
    whatever was trained on them stays valid: ``out/vae`` is written again, and so is the autoencoder of
    ``out/emoji-base`` where there is one.
    """
    pool = _pool(Art.load(cache), 14000, seed)
    torch.manual_seed(seed)
    model: Any = AutoencoderKL.from_pretrained(out / "vae").to(DEVICE)
    critic = patch_critic().to(DEVICE)
    parameters = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    optimiser = torch.optim.AdamW(parameters, lr=RATE / 2, betas=(0.9, 0.98), weight_decay=1e-4)
    judging = torch.optim.AdamW(critic.parameters(), lr=CRITIC_RATE, betas=(0.5, 0.9), weight_decay=1e-4)
    ema = Ema(model)
    state = {"model": model, "optimiser": optimiser, "ema": ema, "critic": critic, "judging": judging}
    loop = Loop("vae-decoder", out / "checkpoints", steps, state, seed)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(RATE / 2, step, steps)
        x = normalise(pool[torch.randint(len(pool), (FULL_BATCH,))])
        with precision():
            loss, y = _loss(model, x)
            if step >= steps * CRITIC_FROM:
                loss = loss - CRITIC_WEIGHT * critic(y).float().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step >= steps * CRITIC_FROM:
            _teach_critic(critic, judging, x, y.detach())
        ema.update(step)
        loop.loss = loss.detach()
    ema.copy_to(model)
    model.save_pretrained(out / "vae")
    if (out / "emoji-base").exists():
        model.to(torch.float16).save_pretrained(out / "emoji-base" / "vae")
    (out / "vae" / REFINED).touch()


def _teach_critic(
    critic: torch.nn.Module, optimiser: torch.optim.Optimizer, true: torch.Tensor, decoded: torch.Tensor
) -> None:
    with precision():
        loss = F.relu(1 - critic(true).float()).mean() + F.relu(1 + critic(decoded).float()).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def train(cache: Path, out: Path, steps: int, seed: int = 11) -> None:
    """Train, then write ``out/vae`` (diffusers folder); the scaling factor makes latents of unit variance."""
    art = Art.load(cache)
    pool = _pool(art, 14000, seed)
    torch.manual_seed(seed)
    model: Any = build().to(DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    ema = Ema(model)
    loop = Loop("vae", out / "checkpoints", steps, {"model": model, "optimiser": optimiser, "ema": ema}, seed)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(RATE, step, steps)
        x = _batch(pool, step >= steps * (1 - FULL_SHARE))
        with precision():
            loss, _ = _loss(model, x)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        ema.update(step)
        loop.loss = loss.detach()
    ema.copy_to(model)
    with torch.no_grad(), precision():
        z = torch.cat(
            [model.encode(normalise(pool[i : i + 100])).latent_dist.mean.float() for i in range(0, 2000, 100)]
        )
    model.register_to_config(scaling_factor=float(1 / (z - z.mean()).std()), shift_factor=None)
    model.save_pretrained(out / "vae")
