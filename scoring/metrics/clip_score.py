"""CLIP score: how well an image goes with its prompt by CLIP's cosine (Hessel et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import pretrained
from ..clip_model import ClipModel
from . import metric

if TYPE_CHECKING:
    from PIL import Image


@metric("clip_score")
class ClipScore:
    """``clip_score:PATH_OR_ID``. max(100 cos, 0), the scale of torchmetrics; Hessel's 2.5 max(cos, 0) is a fortieth."""

    def __init__(self, argument: str = "") -> None:
        where = pretrained.folder(argument, "clip_score", "openai/clip-vit-large-patch14")
        self.clip = ClipModel(where, pretrained.device())

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        cosines = (self.clip.images(images) * self.clip.texts(prompts)).sum(1)
        return [max(100 * float(c), 0.0) for c in cosines]
