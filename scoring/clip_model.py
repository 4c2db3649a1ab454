"""A CLIP model of transformers: images and texts as unit vectors of one space (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from . import pretrained

if TYPE_CHECKING:
    from PIL import Image

KIND = "a CLIP model"
_BATCH = 16


class ClipModel:
    """A model in a folder, loaded when first asked.

    Args:
        where: what ``save_pretrained`` of a ``CLIPModel`` and of its processor wrote.
        device: where it runs.
    """

    def __init__(self, where: Path, device: str = "cpu") -> None:
        self.where, self.device = where, device

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides its vectors. Raises UserError if there are no weights."""
        return pretrained.identity(self.where)

    def images(self, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        """Images -> float32 (n, dimensions), unit vectors."""
        import torch

        rows = []
        for at in range(0, len(images), _BATCH):
            some = [image.convert("RGB") for image in images[at : at + _BATCH]]
            pixels = self._processor(images=some, return_tensors="pt")["pixel_values"].to(self.device)
            with torch.inference_mode():
                rows.append(self._unit(self._model.get_image_features(pixel_values=pixels).pooler_output))
        return np.concatenate(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    def texts(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """Texts -> float32 (n, dimensions), unit vectors; what a text has beyond the model's limit is left out."""
        import torch

        limit = int(self._model.config.text_config.max_position_embeddings)
        rows = []
        for at in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(
                list(texts[at : at + _BATCH]), padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(self.device)
            inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
            with torch.inference_mode():
                rows.append(self._unit(self._model.get_text_features(**inputs).pooler_output))
        return np.concatenate(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    @property
    def scale(self) -> float:
        """What the model multiplies cosines by to make them logits: exp(logit_scale), 100 at most as it was trained."""
        return float(self._model.logit_scale.detach().exp())

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""
        return int(self._model.config.projection_dim)

    @staticmethod
    def _unit(vectors: Any) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = (vectors / vectors.norm(dim=-1, keepdim=True)).float().cpu().numpy()
        return found

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoConfig, CLIPModel

        with pretrained.reading(self.where, KIND):
            config = AutoConfig.from_pretrained(self.where, local_files_only=True, trust_remote_code=False)
            if config.model_type != "clip":
                raise UserError(f"{self.where} holds a model of the type {config.model_type[:40]!r}, not {KIND}.")
            return pretrained.loaded(CLIPModel, self.where, self.device)

    @cached_property
    def _processor(self) -> Any:
        with pretrained.reading(self.where, KIND):
            return pretrained.image_processor(self.where)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        with pretrained.reading(self.where, KIND):
            return AutoTokenizer.from_pretrained(self.where, local_files_only=True, trust_remote_code=False)
