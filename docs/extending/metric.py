"""A metric: how much of the colour range an image uses, whatever was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffgraph.scoring.protocol import metric
from diffgraph.scoring.request import Verdict, Wanted


@metric("colourful")
class Colourful:
    """The widest of the three channels' ranges, 0..1."""

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        spreads = [float(np.ptp(np.asarray(image.convert("RGB")), axis=(0, 1)).max()) / 255 for image in images]
        return [Verdict(score=spread, facets={want.text: spread for want in wanted}) for spread in spreads]
