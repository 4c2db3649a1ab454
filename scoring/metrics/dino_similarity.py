"""DINO: how like a reference an image is in its very features, where CLIP asks what it is about (Oquab et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from .. import pretrained
from . import metric
from .reference_images import mean_cosines, split

if TYPE_CHECKING:
    from PIL import Image

_EXAMPLE, _KIND = "facebook/dinov2-base", "a DINO model"
_BATCH = 16


@metric("dino_similarity")
class DinoSimilarity:
    """``dino_similarity:PATH_OR_ID@REFERENCE``, an image or a folder of them: the mean cosine of class tokens."""

    def __init__(self, argument: str = "") -> None:
        model, self.references = split(argument, "dino_similarity", _EXAMPLE)
        self.where, self.device = pretrained.folder(model, "dino_similarity", _EXAMPLE), pretrained.device()

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        return mean_cosines(self._vectors(images), self._known) if images else []

    @cached_property
    def _known(self) -> np.ndarray[Any, Any]:
        return self._vectors(self.references)

    def _vectors(self, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        """Images -> float32 (n, dimensions), unit vectors: the class token of the last layer."""
        import torch

        rows = []
        for at in range(0, len(images), _BATCH):
            some = [image.convert("RGB") for image in images[at : at + _BATCH]]
            pixels = self._processor(images=some, return_tensors="pt")["pixel_values"].to(self.device)
            with torch.inference_mode():
                token = self._model(pixel_values=pixels).last_hidden_state[:, 0]
            rows.append((token / token.norm(dim=-1, keepdim=True)).float().cpu().numpy())
        return np.concatenate(rows)

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        with pretrained.reading(self.where, _KIND):
            found = pretrained.loaded(AutoModel, self.where, self.device)
        if found.main_input_name != "pixel_values":
            raise UserError(f"{self.where} holds a model that takes more than images, not {_KIND}.")
        return found

    @cached_property
    def _processor(self) -> Any:
        with pretrained.reading(self.where, _KIND):
            return pretrained.image_processor(self.where)
