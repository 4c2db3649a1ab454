"""The images that similarity metrics compare with: a file, or all images of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from ...settings import user_path

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_FORMATS = ("PNG", "JPEG", "WEBP")


def split(argument: str, what: str, example: str) -> tuple[str, list[Image.Image]]:
    """``MODEL@REFERENCE`` -> the model as it is named, and the reference images, RGB.

    Raises:
        UserError: there is no reference, or no image that can be read.
    """
    model, _, said = argument.strip().rpartition("@")
    if not model or not said:
        raise UserError(
            f"Say what {what} compares with, an image or a folder of images: {what}:{example}@REFERENCE.png"
        )
    path = user_path(said)
    files = sorted(p for p in path.glob("*") if p.suffix.lower() in _SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise UserError(f"There is no image in {path} to compare with (PNG, JPEG, WebP).")
    return model, [_opened(file) for file in files]


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image to compare with: {str(error)[:200]}") from error


def mean_cosines(vectors: np.ndarray, references: np.ndarray) -> list[float]:
    """Unit vectors (n, d) and (m, d) -> for each of the n the mean cosine with the m, -1..1."""
    return [float(value) for value in (vectors @ references.T).mean(1)]
