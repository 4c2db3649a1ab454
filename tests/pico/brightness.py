"""A critic whose right answer is known: an image shows anything as surely as it is bright. It embeds nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image, ImageStat

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import ExternalError, UserError
from diffgraph.scoring.protocol import CriticSetup, critic
from diffgraph.scoring.request import Verdict, Wanted, geometric_mean


def brightness(image: Image.Image) -> float:
    """Mean of its grey values, 0..1."""
    return float(ImageStat.Stat(image.convert("L")).mean[0]) / 255


@critic("brightness")
class Brightness:
    """Judges any base, but only by name (``brightness:sees``): nobody is to have it on "auto" because a test knows it.

    ``brightness:blind`` cannot tell about styles and backgrounds; ``brightness:fails after 1`` can not be reached
    after so many calls.
    """

    def __init__(self, setup: CriticSetup) -> None:
        if not setup.argument:
            raise UserError("Say how it judges: brightness:sees.")
        self.blind = setup.argument == "blind"
        self.left = int(setup.argument.rpartition(" ")[2]) if setup.argument.startswith("fails") else None

    @property
    def identity(self) -> str:
        return hashlib.sha256(f"brightness {self.blind}".encode()).hexdigest()

    def fits(self, base: BaseProfile) -> bool:
        return base.vocabulary == "open"

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        if self.left is not None:
            if self.left == 0:
                raise ExternalError("The critic's server is gone.")
            self.left -= 1
        out = []
        for image in images:
            p = brightness(image)
            facets = {w.text: p for w in wanted if not (self.blind and w.facet in ("style", "background"))}
            out.append(Verdict(score=geometric_mean(facets.values()) if facets else 0.0, facets=facets, by="the light"))
        return out
