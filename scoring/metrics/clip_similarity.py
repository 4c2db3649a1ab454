"""CLIP-I: how like a reference an image is in what it shows, by CLIP's image vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import pretrained
from ..clip_model import ClipModel
from . import metric
from .reference_images import mean_cosines, split

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_EXAMPLE = "openai/clip-vit-large-patch14"


@metric("clip_similarity")
class ClipSimilarity:
    """``clip_similarity:PATH_OR_ID@REFERENCE``, an image or a folder of images. The mean cosine with them, -1..1."""

    def __init__(self, argument: str = "") -> None:
        model, self.references = split(argument, "clip_similarity", _EXAMPLE)
        self.clip = ClipModel(pretrained.folder(model, "clip_similarity", _EXAMPLE), pretrained.device())

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        return mean_cosines(self.clip.images(images), self._known)

    @cached_property
    def _known(self) -> np.ndarray[Any, Any]:
        return self.clip.images(self.references)
