"""A metric: how much of the colour range an image uses, whatever was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffgraph.scoring.metrics import metric


@metric("colourful")
class Colourful:
    """The widest of the three channels' ranges, 0..1."""

    def __init__(self, argument: str = "") -> None:
        """``argument`` is what follows ``colourful:`` where the metric is named; it needs none."""

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        return [float(np.ptp(np.asarray(image.convert("RGB")), axis=(0, 1)).max()) / 255 for image in images]
