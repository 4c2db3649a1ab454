"""The critic that a vision model makes: atoms asked one by one, calibrated, their geometric mean, what is missing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ....bases.profile import BaseProfile
from ....cleaning import clean
from ....errors import BudgetExceeded, ExternalError, UserError
from ...request import Verdict, Wanted, geometric_mean
from .backend import Backend
from .calibration import Calibration, expit, logit
from .questions import VERSION, choice, open_question, question

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger(__name__)
_UNSURE = 0.5
_SEEN = 80
"""Characters of what is seen instead that are kept."""


class VlmCritic:
    """Judges any base's images by questions to a vision model.

    Args:
        backend: the model.
        calibration: what its probabilities are worth, facet by facet; None takes them as they are.
        describes: whether it is asked what a missing atom is instead: one more answer an image that lacks something.
    """

    def __init__(self, backend: Backend, *, calibration: Calibration | None = None, describes: bool = True) -> None:
        self.backend = backend
        self._calibration = calibration or Calibration()
        self.describes = describes

    def calibrate(self, calibration: Calibration) -> None:
        """Go by other curves from here on."""
        self._calibration = calibration

    @property
    def calibration(self) -> Calibration:
        """The curves in force. Raises UserError if they were fitted for another model."""
        fitted_for = self._calibration.model
        if fitted_for and fitted_for != self.backend.identity:
            raise UserError(
                f"The calibration was fitted for another model than {self.backend.title}: its weights or its name have "
                "changed. Fit it again (diffgraph critic fit), or unset DIFFGRAPH_CRITIC_CALIBRATION and delete it."
            )
        return self._calibration

    @property
    def identity(self) -> str:
        """Hash of the model, the form of the questions, and the calibration."""
        parts = [self.backend.identity, VERSION, self.calibration.identity, self.describes]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def fits(self, base: BaseProfile) -> bool:
        """True: it looks at images as anybody would, whoever drew them."""
        return True

    def probabilities(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> np.ndarray:
        """Calibrated P that image i shows wanted thing j: float64 (n_images, n_wanted); nan where nothing was said."""
        curves = self.calibration
        p = self.raw(images, wanted)
        for column, want in enumerate(wanted):
            p[:, column] = curves.of(want.facet, p[:, column])
        return p

    def raw(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> np.ndarray:
        """P(yes) as the model says it: float64 (n_images, n_wanted); nan where it answered neither yes nor no."""
        if not images or not wanted:
            return np.zeros((len(images), len(wanted)), dtype=np.float64)
        found = np.full((len(images), len(wanted)), np.nan)
        readable = {row: rgb for row, image in enumerate(images) if (rgb := _in_rgb(image)) is not None}
        if readable:
            asked = [question(want) for want in wanted]
            found[list(readable)] = self.backend.yes_probabilities(list(readable.values()), asked)
        return found

    def answers(self, asked: Sequence[tuple[Image.Image, Wanted]]) -> np.ndarray:
        """As `raw`, of one wanted thing an image each: float64 (n,)."""
        return self.backend.answers([(image, question(want)) for image, want in asked])

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order; the same request holds for all of them."""
        found = self.probabilities(images, wanted)
        return [self._verdict(image, wanted, row.tolist()) for image, row in zip(images, found, strict=True)]

    def prefer(self, a: Image.Image, b: Image.Image, wanted: Sequence[Wanted]) -> float:
        """P that ``a`` shows what is wanted better than ``b``: a forced choice in both orders, averaged.

        A model that cannot be shown two images is asked about each of them alone, and the odds of all atoms are
        compared.
        """
        one, two = _in_rgb(a), _in_rgb(b)
        if one is None or two is None:
            return 0.5 if one is two else float(two is None)
        a, b = one, two
        if self.backend.pairs and wanted:
            asked = choice(wanted)
            first = [self.backend.first_probability(a, b, asked), 1 - self.backend.first_probability(b, a, asked)]
            said = [p for p in first if not np.isnan(p)]
            if said:
                return float(np.mean(said))
        odds = logit(np.nan_to_num(self.probabilities([a, b], wanted), nan=_UNSURE))
        return float(expit(np.mean(odds[0] - odds[1]))) if len(wanted) else 0.5

    def _verdict(self, image: Image.Image, wanted: Sequence[Wanted], row: Sequence[float]) -> Verdict:
        findings = []
        if not wanted:
            findings.append("Nothing in the request can be judged.")
        facets: dict[str, float] = {}
        missing: list[Wanted] = []
        unsure: dict[str, None] = {}
        for want, p in zip(wanted, row, strict=True):
            if np.isnan(p):
                findings.append(f"The critic gave no answer about the {want.facet} {want.text!r}; it counts as unsure.")
                p, unsure[want.text] = _UNSURE, None
            elif p < _UNSURE:
                missing.append(want)
            # one text under two facets: the worse of the two is what is said of it
            facets[want.text] = min(p, facets.get(want.text, 1.0))
        seen = self._seen(image, missing)
        findings += [_complaint(want, facets[want.text], seen.get(want.text, "")) for want in missing]
        return Verdict(
            score=min(1.0, geometric_mean(facets.values())) if facets else 0.0,
            facets=facets,
            findings=tuple(findings),
            seen=seen,
            unsure=tuple(unsure),
            by=self.backend.title,
        )

    def _seen(self, image: Image.Image, missing: Sequence[Wanted]) -> dict[str, str]:
        """What an image shows instead of what it lacks; a stranger's words, so bounded and cleaned."""
        if not missing or not self.describes:
            return {}
        try:
            said = self.backend.describe(image, [open_question(want) for want in missing])
        except (ExternalError, BudgetExceeded):
            return {}  # the verdict stands without it
        texts = (" ".join(clean(text, _SEEN).split()).strip(' ."') for text in said)
        return {want.text: text for want, text in zip(missing, texts, strict=True) if text}


def _in_rgb(image: Image.Image) -> Image.Image | None:
    """The image, read whole; None if its file is cut or damaged, which shows only then."""
    try:
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's word for a broken PNG
        _log.warning("An image cannot be read, so the critic does not know it: %s", clean(str(error), 200))
        return None


def _complaint(want: Wanted, p: float, seen: str) -> str:
    instead = f"; {seen!r} is seen instead" if seen else ""
    return f"The {want.facet} {want.text!r} is hardly there ({p:.2f}){instead}."
