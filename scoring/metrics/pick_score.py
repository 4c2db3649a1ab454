"""PickScore: which image people would pick for a prompt (Kirstain et al. 2023), a CLIP taught on their choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import pretrained
from ..clip_model import ClipModel
from . import metric

if TYPE_CHECKING:
    from PIL import Image


@metric("pick_score")
class PickScore:
    """``pick_score:PATH_OR_ID``. exp(logit_scale) cos; only differences between images of one prompt mean something."""

    def __init__(self, argument: str = "") -> None:
        where = pretrained.folder(argument, "pick_score", "yuvalkirstain/PickScore_v1")
        self.clip = ClipModel(where, pretrained.device())

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        cosines = (self.clip.images(images) * self.clip.texts(prompts)).sum(1)
        return [self.clip.scale * float(c) for c in cosines]


def picked(scores: Sequence[float]) -> list[float]:
    """Scores of candidates for one prompt -> the probability of each to be picked: their softmax."""
    highest = max(scores, default=0.0)
    shares = [math.exp(score - highest) for score in scores]
    return [share / sum(shares) for share in shares]
