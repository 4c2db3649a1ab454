"""Several critics as one: what they say of a thing adds up as odds do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...bases.profile import BaseProfile
from ..protocol import Critic
from ..request import Verdict, Wanted, geometric_mean
from .vlm.calibration import expit, logit

if TYPE_CHECKING:
    from PIL import Image

_UNSURE = 0.5


class Together:
    """Critics whose calibrated log-odds are averaged (a logarithmic opinion pool, Genest and Zidek 1986).

    A thing that one of them has no probability for, or got no answer about, is judged by the others alone.
    """

    def __init__(self, critics: Sequence[Critic]) -> None:
        if not critics:
            raise ValueError("nobody judges")
        self.critics = list(critics)

    @property
    def identity(self) -> str:
        """Hash of theirs."""
        return hashlib.sha256("\n".join(critic.identity for critic in self.critics).encode()).hexdigest()

    def fits(self, base: BaseProfile) -> bool:
        """Whether all of them fit."""
        return all(critic.fits(base) for critic in self.critics)

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order; the score is the geometric mean, findings are those of all."""
        told = [critic.score(images, wanted) for critic in self.critics]
        return [self._verdict(row) for row in zip(*told, strict=True)]

    def prefer(self, a: Image.Image, b: Image.Image, wanted: Sequence[Wanted]) -> float:
        """P that ``a`` shows what is wanted better than ``b``: the mean difference of the log-odds of each thing."""
        first, second = self.score([a, b], wanted)
        texts = list(first.facets)
        if not texts:
            return _UNSURE
        odds = [logit(np.array([verdict.facets[text] for text in texts])) for verdict in (first, second)]
        return float(expit(np.mean(odds[0] - odds[1])))

    @staticmethod
    def _verdict(told: Sequence[Verdict]) -> Verdict:
        texts = dict.fromkeys(text for verdict in told for text in verdict.facets)
        facets = {}
        unsure = []
        for text in texts:
            all_said = [verdict for verdict in told if text in verdict.facets]
            sure = [verdict for verdict in all_said if text not in verdict.unsure]
            unsure += [] if sure else [text]
            said = np.array([verdict.facets[text] for verdict in sure or all_said])
            facets[text] = float(expit(logit(said).mean()))
        return Verdict(
            score=min(1.0, geometric_mean(facets.values())) if facets else 0.0,
            facets=facets,
            findings=tuple(dict.fromkeys(finding for verdict in told for finding in verdict.findings)),
            seen={text: seen for verdict in reversed(told) for text, seen in verdict.seen.items()},
            unsure=tuple(unsure),
            by=" and ".join(dict.fromkeys(verdict.by for verdict in told if verdict.by)),
        )
