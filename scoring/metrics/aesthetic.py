"""LAION's aesthetic predictors: what people say of an image's looks, 1 to 10, whatever was asked for.

A head on the unit image vectors of CLIP ViT-L/14: one linear layer (version 1), or five one after the other with
nothing between them (version 2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from ...settings import user_path
from .. import pretrained
from ..clip_model import ClipModel
from . import metric

if TYPE_CHECKING:
    from PIL import Image

CLIP = "openai/clip-vit-large-patch14"
_LAYER = re.compile(r"(?:(?:layers|model|mlp)\.)?(?:(\d+)\.)?(weight|bias)")
_PICKLES = (".pth", ".pt", ".bin", ".ckpt")


@metric("aesthetic")
class Aesthetic:
    """``aesthetic:HEAD.safetensors``, or ``aesthetic:HEAD.safetensors@CLIP`` with another folder or id of the CLIP."""

    def __init__(self, argument: str = "") -> None:
        head, _, clip = argument.strip().partition(".safetensors@")
        self.head = self._checked(f"{head}.safetensors" if clip else head)
        self.clip = ClipModel(pretrained.folder(clip or CLIP, "aesthetic", CLIP), pretrained.device())

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        x = self.clip.images(images).astype(np.float64)
        for weight, bias in self._layers:
            if x.shape[1] != weight.shape[1]:
                raise UserError(
                    f"{self.head} is no head for this CLIP: it takes vectors of {weight.shape[1]}, not {x.shape[1]}. "
                    f"LAION's are for {CLIP}."
                )
            x = x @ weight.T + bias
        return [float(value) for value in x[:, 0]]

    @staticmethod
    def _checked(said: str) -> Path:
        if not said:
            raise UserError("Say where the head's weights are: aesthetic:HEAD.safetensors")
        path = user_path(said)
        if path.suffix.lower() in _PICKLES:
            raise UserError(
                f'{path.name} is a pickle, which can run code, so it is not opened. Convert it once: python -c "import '
                "torch, safetensors.torch as s; "
                f"s.save_file(torch.load('{path.name}', weights_only=True), '{path.stem}.safetensors')\""
            )
        if not path.is_file():
            raise UserError(
                f"There is no file {path}. LAION's heads are on GitHub (LAION-AI/aesthetic-predictor, "
                "christophschuhmann/improved-aesthetic-predictor) as .pth: convert one to .safetensors and name it."
            )
        return path

    @cached_property
    def _layers(self) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Weight (out, in) and bias (out) of each layer, in order."""
        from safetensors.numpy import load_file

        with pretrained.reading(self.head, "an aesthetic head"):
            tensors = load_file(self.head)
        layers: dict[int, dict[str, np.ndarray[Any, Any]]] = {}
        for name, tensor in tensors.items():
            found = _LAYER.fullmatch(name)
            if found is None:
                raise UserError(f"{self.head} is no aesthetic head: {name[:80]!r} is no layer's weight or bias.")
            layers.setdefault(int(found[1] or 0), {})[found[2]] = tensor.astype(np.float64)
        ordered = [layers[number] for number in sorted(layers)]
        width = None
        for layer in ordered:
            weight, bias = layer.get("weight"), layer.get("bias")
            if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
                raise UserError(f"{self.head} is no aesthetic head: a layer is no matrix with its bias.")
            if width not in (None, weight.shape[1]):
                raise UserError(f"{self.head} is no aesthetic head: its layers do not follow each other.")
            width = weight.shape[0]
        if width != 1:
            raise UserError(f"{self.head} is no aesthetic head: it does not end in one number.")
        return [(layer["weight"], layer["bias"]) for layer in ordered]
