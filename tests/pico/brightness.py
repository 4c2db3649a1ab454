"""A critic whose right answer is known: an image shows anything as surely as it is bright. It embeds nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image, ImageStat

from diffgraph.bases.profile import BaseProfile
from diffgraph.scoring.protocol import CriticSetup, critic
from diffgraph.scoring.request import Verdict, Wanted, geometric_mean


def brightness(image: Image.Image) -> float:
    """Mean of its grey values, 0..1."""
    return float(ImageStat.Stat(image.convert("L")).mean[0]) / 255


@critic("brightness")
class Brightness:
    """Judges any base. ``brightness:blind`` cannot tell about styles and backgrounds."""

    def __init__(self, setup: CriticSetup) -> None:
        self.blind = setup.argument == "blind"

    @property
    def identity(self) -> str:
        return hashlib.sha256(f"brightness {self.blind}".encode()).hexdigest()

    def fits(self, base: BaseProfile) -> bool:
        return base.vocabulary == "open"

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        out = []
        for image in images:
            p = brightness(image)
            facets = {w.text: p for w in wanted if not (self.blind and w.facet in ("style", "background"))}
            out.append(Verdict(score=geometric_mean(facets.values()) if facets else 0.0, facets=facets, by="the light"))
        return out
