"""A judge for evaluations: it says that a thing is shown where the picture's middle stands out from its border.

That is a floor for any judge of subjects: it cannot tell an octopus from a crab, but an empty picture from both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.evals.judges.protocol import Judgement, judge
from diffgraph.scoring.request import Wanted

SIDE = 16
LEAST = 0.1


def pixels(image: Image.Image) -> np.ndarray:
    """float64 (SIDE, SIDE, 3), 0..1."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE)), dtype=float) / 255


@judge("stands-out")
class StandsOut:
    """``judge: stands-out`` in a suite's file chooses it."""

    def __init__(self, base: BaseProfile) -> None:
        self.digest = f"stands-out {SIDE} {LEAST}"

    def judge(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Judgement]:
        return [self._one(pixels(image), [want.facet for want in wanted]) for image in images]

    def similarity(self, images: Sequence[Image.Image], truths: Sequence[Image.Image]) -> list[float]:
        return [1 - float(np.abs(pixels(a) - pixels(b)).mean()) for a, b in zip(images, truths, strict=True)]

    def _one(self, seen: np.ndarray, facets: Sequence[str]) -> Judgement:
        middle, border = seen[4:-4, 4:-4].mean((0, 1)), seen[[0, -1]].mean((0, 1))
        contrast = float(np.abs(middle - border).max())
        shown = contrast >= LEAST
        return Judgement(
            hits=dict.fromkeys(facets, shown),
            chance=dict.fromkeys(facets, contrast),
            seen=dict.fromkeys(facets, "something" if shown else "nothing"),
        )
