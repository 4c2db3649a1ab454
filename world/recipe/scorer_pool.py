"""What both scorers train on: a pool of true renders with labels, and the damage a sampler's image can show."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ...files.hashing import file_sha256
from .art import Art
from .train import precision

HOUSE = "house"
"""Name of the class "no style": the base's own look."""
_SAME = 14.0
"""Two plain colours nearer than this under a style (mean absolute difference, of 255) count as the same."""


@dataclass(frozen=True)
class Classes:
    """Every class the scorers know, per facet, and which plain colours a style makes indistinguishable."""

    subject: list[str]
    style: list[str]
    background: list[str]
    alike: dict[str, Tensor]
    """style name -> bool (backgrounds, backgrounds): truth of row b may be called any column where True."""

    @classmethod
    def of(cls, art: Art) -> Classes:
        plains = [f"plain {c}" for c in art.colors]
        backgrounds = [*plains, *art.backgrounds]
        alike = {}
        for style in [HOUSE, *art.styles]:
            same = torch.eye(len(backgrounds), dtype=torch.bool)
            shown = [_mean_render(art, style, b) for b in plains]
            for i, a in enumerate(shown):
                for j, b in enumerate(shown):
                    same[i, j] = bool(np.abs(a - b).mean() < _SAME)
            alike[style] = same
        return cls(list(art.names), [HOUSE, *art.styles], backgrounds, alike)


def _mean_render(art: Art, style: str, background: str) -> np.ndarray[Any, Any]:
    look = None if style == HOUSE else style
    return np.mean([art.render(s, look, background).astype(np.float32) for s in ("octopus", "pizza")], axis=0)


def fold(scene: tuple[str, str, str], folds: int, salt: str) -> int:
    """Which of ``folds`` a (subject, style, background) belongs to; the salt makes the scorers' splits differ."""
    return zlib.crc32("|".join((salt, *scene)).encode()) % folds


@dataclass
class Pool:
    """Renders ``images`` uint8 (n, 64, 64, 3); ``labels`` int64 (n, 3): index of subject, style, background."""

    images: Tensor
    labels: Tensor

    @classmethod
    def draw(
        cls, art: Art, classes: Classes, count: int, *, seed: int, salt: str, held_out: bool, folds: int = 10
    ) -> Pool:
        """``count`` random scenes of fold 0 (``held_out``) or of the others, jittered; subjects come equally often."""
        rng = np.random.default_rng(seed)
        images: list[np.ndarray[Any, Any]] = []
        labels: list[tuple[int, int, int]] = []
        order: list[int] = []
        while len(images) < count:
            if not order:
                order = rng.permutation(len(classes.subject)).tolist()
            s = order.pop()
            # The last style, pictogram, is another artist's drawing of each subject: more to learn than a filter.
            t = 0 if rng.random() < 0.25 else int(rng.integers(1, len(classes.style) + 1))
            t = min(t, len(classes.style) - 1)
            b = int(rng.integers(len(classes.background)))
            if rng.random() < 0.25:
                b = classes.background.index("plain white")
            elif rng.random() < 0.5:  # a style over a painted scene is the hardest to read
                b = len(art.colors) + int(rng.integers(len(art.backgrounds)))
            scene = (classes.subject[s], classes.style[t], classes.background[b])
            if (fold(scene, folds, salt) == 0) != held_out:
                order.append(s)
                continue
            images.append(art.render(scene[0], None if t == 0 else scene[1], scene[2], jitter=rng))
            labels.append((s, t, b))
        return cls(torch.from_numpy(np.stack(images)), torch.tensor(labels))

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (n, 3, 64, 64) in [-1, 1] and labels (n, 3)."""
        x = self.images[index].permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        return x.contiguous(memory_format=torch.channels_last), self.labels[index]


@torch.no_grad()
def through_autoencoder(pool: Pool, vae: Path, *, share: float, noise: float, seed: int) -> None:
    """Replace a ``share`` of the pool by its noisy passage through the world's autoencoder (a diffusers folder)."""
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(vae).eval()
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(pool.images), generator=draw)[: int(share * len(pool.images))]
    for part in chosen.split(128):
        x, _ = pool.batch(part)
        with precision():
            z = model.encode(x).latent_dist.mean
            sigma = noise * torch.rand(len(z), 1, 1, 1, generator=draw)
            y = model.decode(z + sigma * z.float().std() * torch.randn(z.shape, generator=draw)).sample
        pool.images[part] = y.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def teach_on(net: torch.nn.Module, folder: Path) -> str:
    """Give the net a published scorer's weights, as a start; returns the sha256 of their file."""
    file = folder / "model.safetensors"
    net.load_state_dict({k: v.float() for k, v in load_file(file).items() if not k.startswith("bank.")})
    return file_sha256(file)


def nudge(x: Tensor, most: int) -> Tensor:
    """Shift each image by up to ``most`` whole pixels, edges repeated: moves it without touching its texture."""
    n, side = len(x), x.shape[-1]
    wide = F.pad(x, (most,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * most + 1, (2, n, 1))
    rows, columns = top + torch.arange(side), left + torch.arange(side)
    return wide[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def affine(x: Tensor, *, scale: float, shift: float, turn: float) -> Tensor:
    """Random zoom (log-uniform to ``scale``), shift (fraction of the side) and turn (radians), edges repeated."""
    n = len(x)
    if n == 0:
        return x  # nobody drew this damage; PyTorch makes no empty grid
    a = (torch.rand(n) * 2 - 1) * turn
    z = torch.exp((torch.rand(n) * 2 - 1) * float(np.log(scale)))
    move = (torch.rand(n, 2) * 2 - 1) * 2 * shift
    theta = torch.stack(
        [
            torch.stack([z * a.cos(), -z * a.sin(), move[:, 0]], dim=1),
            torch.stack([z * a.sin(), z * a.cos(), move[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def smooth_noise(n: int, cells: int) -> Tensor:
    """Gaussian noise on a ``cells`` x ``cells`` grid, interpolated to (n, 3, 64, 64)."""
    return F.interpolate(torch.randn(n, 3, cells, cells), size=64, mode="bicubic", align_corners=False)


def blur(x: Tensor, side: int) -> Tensor:
    """Shrink to ``side`` pixels and enlarge again."""
    small = F.interpolate(x, size=side, mode="area")
    return F.interpolate(small, size=64, mode="bilinear", align_corners=False)


def patches(x: Tensor, side: int) -> Tensor:
    """Every image with its ``side``-pixel squares in random order."""
    n, k = len(x), 64 // side
    tiles = x.reshape(n, 3, k, side, k, side).permute(0, 2, 4, 1, 3, 5).reshape(n, k * k, 3, side, side)
    order = torch.rand(n, k * k).argsort(dim=1)
    tiles = tiles[torch.arange(n)[:, None], order]
    return tiles.reshape(n, k, k, 3, side, side).permute(0, 3, 1, 4, 2, 5).reshape(n, 3, 64, 64)


def melt(x: Tensor, reach: float, cells: int = 5) -> Tensor:
    """Warp every image by a smooth random field of ``reach`` (fraction of the side)."""
    field = torch.randn(len(x), 2, cells, cells) * 2 * reach
    field = F.interpolate(field, size=64, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    grid = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid + field, padding_mode="border", align_corners=False)


def pace(work: Callable[[], object], minutes: float, steps: int | None, out: Path) -> int:
    """How many steps ``minutes`` are worth, measured once and written down so that a resumed run agrees."""
    out.mkdir(parents=True, exist_ok=True)
    note = out / "steps.txt"
    if steps is None and note.exists():
        steps = int(note.read_text())
    if steps is None:
        work()
        began = time.time()
        for _ in range(6):
            work()
        steps = max(10, int(minutes * 60 / ((time.time() - began) / 6)))
    note.write_text(str(steps))
    return steps


def write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
