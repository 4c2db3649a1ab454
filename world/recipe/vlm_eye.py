"""The eye of the world's vision-language model learns to see what the critic's tower sees.

A vision transformer learns slowly from answers alone. The published critic says where an image lies in its three spaces
(subject, style, background); the eye is taught to say the same at each of its tokens (distillation, arXiv 1412.6550).
Meanwhile the words can be taught on what the critic itself says; a linear layer joins the two in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...scoring.critics.dual_encoder import Critic
from .train import Loop, learning_rate, precision
from .vlm_parts import IMAGE_TOKENS, SHUFFLE


class Tower(nn.Module):
    """The published critic's eye: pixels (n, 3, 64, 64) -> (n, 16, 288), its three spaces side by side, at each token.

    Each space's vector is scaled so that its entries have a spread of about 1.
    """

    def __init__(self, critic: Path) -> None:
        super().__init__()
        self.net = Critic.load(critic).net.eval().requires_grad_(False)
        self.embed = self.net.config.embed
        self.width = self.embed * len(self.net.config.facets)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        with precision():
            parts = self.net.project(self.net.features(x))
        seen = torch.cat(list(parts.values()), dim=1) * self.embed**0.5
        return seen[:, None].expand(-1, IMAGE_TOKENS, -1)


class Eye(nn.Module):
    """Pixels (n, 3, 64, 64) -> (n, 16, width): a vision model (shared) and a layer that names the critic's spaces."""

    def __init__(self, model: Any, width: int) -> None:
        super().__init__()
        self.model = model.model
        self.head = nn.Linear(self.model.vision_model.config.hidden_size * SHUFFLE**2, width, bias=False)

    def patches(self, x: Tensor) -> Tensor:
        """(n, 3, 64, 64) -> (n, 16, 4 * hidden): the vision model's tokens, four neighbours side by side."""
        seen = self.model.vision_model(pixel_values=x).last_hidden_state
        return self.model.connector.pixel_shuffle(seen, SHUFFLE)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.patches(x))


def apart(seen: Tensor, goal: Tensor, facets: int) -> Tensor:
    """One minus the cosine (facets,) of what is seen and the goal, (n, 16, width) each, over each facet's space."""
    a, b = (F.normalize(v.unflatten(-1, (facets, -1)).float(), dim=-1) for v in (seen, goal))
    return 1 - (a * b).sum(-1).mean((0, 1))


def teach(
    eye: Eye,
    tower: Tower,
    batch: Callable[[float], Tensor],
    steps: int,
    folder: Path,
    *,
    rate: float = 1.2e-3,
    seed: int = 61,
) -> None:
    """Distil ``tower`` into ``eye``; ``batch(done)`` gives pixels (n, 3, 64, 64). Resumable."""
    parts = [*eye.model.vision_model.parameters(), *eye.head.parameters()]
    optimiser = torch.optim.AdamW(parts, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
    state = {"vision": eye.model.vision_model, "head": eye.head, "optimiser": optimiser}
    loop = Loop("eye", folder, steps, state, seed, every=100)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, step, steps)
        x = batch(step / steps)
        goal = tower(x)
        with precision():
            seen = eye(x)
        off = apart(seen, goal, len(tower.net.config.facets))
        loss = off.sum() + 0.1 * F.smooth_l1_loss(seen.float(), goal)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts, 1.0)
        optimiser.step()
        loop.loss = loss.detach()
        if (step + 1) % loop.log_every == 0:
            print(f"eye: off by {[round(v, 3) for v in off.tolist()]}", flush=True)
