"""A critic: how near an image's mean colour is to the colours that were asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from diffgraph.bases.profile import BaseProfile
from diffgraph.scoring.protocol import CriticSetup, critic
from diffgraph.scoring.request import Verdict, Wanted, harmonic_mean


@critic("colours")
class Colours:
    """Judges what names a colour; of everything else it says that it does not know."""

    identity = "colours 1"

    def __init__(self, setup: CriticSetup) -> None:
        """``setup.argument`` is what follows ``colours:`` in DIFFGRAPH_CRITIC; it needs none."""

    def fits(self, base: BaseProfile) -> bool:
        return True

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        return [self._verdict(image, wanted) for image in images]

    def _verdict(self, image: Image.Image, wanted: Sequence[Wanted]) -> Verdict:
        mean = np.asarray(image.convert("RGB"), np.float32).mean((0, 1))
        facets, findings = {}, []
        for want in wanted:
            colour = next((word for word in want.text.lower().split() if word in ImageColor.colormap), None)
            if colour is None:
                facets[want.text] = 0.5
                findings.append(f"{want.text!r} is no colour, so this critic does not know.")
                continue
            far = float(np.abs(mean - ImageColor.getrgb(colour)[:3]).mean()) / 255
            facets[want.text] = 1 - far
        return Verdict(score=harmonic_mean(facets.values()) if facets else 0.0, facets=facets, findings=tuple(findings))
