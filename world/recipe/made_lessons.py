"""Images made by the product as lessons: labels as classes, batches, and what is held back to calibrate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..critic import FACETS
from . import scorer_pool as sp
from .made_images import ABSENT, SHOWN, Made

NOBODY, UNSAID = -1, -2
"""Labels: shows none of the known things; nobody knows."""
HELD_BACK = 0.12
"""Share of the images of each list, the last ones made, that nothing learns from: scores are calibrated on them."""


def pixels(images: Tensor) -> Tensor:
    """uint8 (n, 64, 64, 3) -> float32 (n, 3, 64, 64) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1.0).contiguous(memory_format=torch.channels_last)


def labels_of(made: Made, classes: sp.Classes) -> np.ndarray[Any, Any]:
    """int64 (n, 3): the class that is shown, `NOBODY` where what was asked for is absent, else `UNSAID`."""
    names = {f: {n: i for i, n in enumerate(getattr(classes, f))} for f in FACETS}
    out = np.full((len(made.asked), 3), UNSAID, np.int64)
    for i, (asked, shown) in enumerate(zip(made.asked, made.shown.tolist(), strict=True)):
        for at, facet in enumerate(FACETS):
            if shown[at] == SHOWN:
                out[i, at] = names[facet][asked[at]]
            elif shown[at] == ABSENT:
                out[i, at] = NOBODY
            elif facet == "style" and not asked[at]:
                out[i, at] = names[facet][sp.HOUSE]
    return out


@dataclass(frozen=True)
class MadeLessons:
    """Made images, ``labels`` (n, 3), and what was ``asked`` for; the last `HELD_BACK` of each list are held back."""

    made: Made
    labels: np.ndarray[Any, Any]

    @classmethod
    def load(cls, folder: Path, classes: sp.Classes) -> MadeLessons:
        made = Made.load(folder)
        return cls(made, labels_of(made, classes))

    @cached_property
    def taught(self) -> Tensor:
        """Which of them may be learnt from: bool (n,)."""
        may = torch.ones(len(self.labels), dtype=torch.bool)
        for kind in self.made.kinds.unique():
            own = torch.nonzero(self.made.kinds == kind)[:, 0]
            may[own[round(len(own) * (1 - HELD_BACK)) :]] = False
        return may

    def draw(self, n: int) -> tuple[Tensor, np.ndarray[Any, Any], list[tuple[str, str, str]]]:
        """n images (n, 3, 64, 64) at random, of each list about equally many, their labels (n, 3), and what was asked
        for.
        """
        lists = [torch.nonzero(self.taught & (self.made.kinds == kind))[:, 0] for kind in self.made.kinds.unique()]
        shares = torch.arange(n) % len(lists)
        at = torch.stack([lists[share][torch.randint(len(lists[share]), ())] for share in shares.tolist()])
        return pixels(self.made.images[at]), self.labels[at.numpy()], [self.made.asked[i] for i in at.tolist()]

    def batch(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `draw`: images, labels with -1 for both "nobody" and "unsaid", and bool (n, 3): which are known."""
        x, labels, _ = self.draw(n)
        found = torch.from_numpy(labels)
        return x, found.clamp_min(-1), found > UNSAID

    def held_back(self) -> tuple[Tensor, list[tuple[str, str, str]], Tensor]:
        """The others: images (n, 3, 64, 64), what was asked for, and whether it is shown (n, 3), as labelled."""
        rest = torch.nonzero(~self.taught)[:, 0]
        return pixels(self.made.images[rest]), [self.made.asked[i] for i in rest.tolist()], self.made.shown[rest]
