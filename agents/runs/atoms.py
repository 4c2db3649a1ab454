"""What a critic says of an image, atom by atom, in the words and marks in which the page and the terminal show it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...scoring.request import WHOLE
from ...tools.results import ActivationResult, ScoredImage
from ...tools.score_images import wanted_of
from ..state import AnswerImage, RoundImage
from .result import RunResult

Judged = AnswerImage | RoundImage | ScoredImage
SURE = 0.5
"""From this probability on, a critic is taken to see what was asked for."""
CELLS = 10
"""Characters of a bar in a terminal."""


@dataclass(frozen=True)
class Atom:
    """One thing that was asked for, and what a critic says of it in one image.

    Attributes:
        facet: "subject", "style", …; "" where it was not kept.
        text: what was asked for.
        p: probability (0..1) that the image shows it; None if nobody has judged that.
        seen: what is seen instead; "" if the critic does not say.
    """

    facet: str
    text: str
    p: float | None
    seen: str = ""

    @property
    def shown(self) -> bool | None:
        """Whether the image shows it; None if nobody has judged that."""
        return None if self.p is None else self.p >= SURE

    @property
    def mark(self) -> str:
        """A tick, a cross, or a circle for what nobody has judged."""
        return {True: "✓", False: "✗", None: "○"}[self.shown]

    @property
    def verdict(self) -> str:
        """The mark in words."""
        return {True: "shown", False: "missing", None: "not judged"}[self.shown]

    @property
    def number(self) -> str:
        """The probability with two digits; a dash for what nobody has judged."""
        return "–" if self.p is None else f"{self.p:.2f}"

    @property
    def bar(self) -> str:
        """The probability as ten characters, empty for what nobody has judged."""
        full = 0 if self.p is None else round(self.p * CELLS)
        return "█" * full + "░" * (CELLS - full)


def facets_of(activation: ActivationResult | None) -> dict[str, str]:
    """Wanted text -> its facet, in the order in which a critic is asked."""
    return {wanted.text: wanted.facet for wanted in wanted_of(activation)} if activation else {}


def facets_of_result(result: RunResult) -> dict[str, str]:
    """The same of a run that had ended, one that was read from its folder too."""
    if result.activation or not result.scores:
        return facets_of(result.activation)
    names = {text: found.facet for found in result.facets for text in (found.text, found.skill, found.trigger)}
    return {text: names.get(text, "") for text in result.scores.facets}


def atoms(image: Judged | None, facets: dict[str, str]) -> tuple[Atom, ...]:
    """What was asked for and what the critic says of it: all that was wanted, and all that was judged.

    Args:
        image: a judged image; None for one that nobody has judged.
        facets: as `facets_of` gives them.
    """
    judged = image.facets if image else {}
    texts = dict.fromkeys([*facets, *judged])
    return tuple(
        Atom(_facet(facets.get(text, "")), text, judged.get(text), image.seen.get(text, "") if image else "")
        for text in texts
    )


def _facet(name: str) -> str:
    return "whole prompt" if name == WHOLE else name


def critics_of(images: Iterable[Judged]) -> tuple[str, ...]:
    """Who judged these images, each once; nothing where that was not kept."""
    return tuple(dict.fromkeys(image.by for image in images if image.by))


def summary(said: Iterable[Atom]) -> str:
    """``2 of 3 shown``; "" where nothing was judged."""
    told = [atom.shown for atom in said if atom.shown is not None]
    return f"{sum(told)} of {len(told)} shown" if told else ""
