"""What reading hands out: stretches that name skills, leftovers, what the prompt rules out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..experts.expert import Facet

BASE = "base"
How = Literal["name", "alias", "head", "typo", "meaning"]
Cue = Literal["style", "background", "modifier", "free"]


@dataclass(frozen=True)
class Span:
    """A stretch of the prompt that names a skill.

    Attributes:
        facet: what it asks for.
        name: the skill's name, folded; with ``facet`` the key of a vocabulary's group.
        text: as it stands in the prompt.
        start, end: character offsets into the prompt.
        how: by the skill's name, one of its aliases, the head of its name, with a typo mended, or by meaning.
        score: 1.0 for the name itself, less for looser matches, the cosine for meaning.
        others: further skills of the same facet that the same words may name, in case nobody draws the first.
    """

    facet: Facet
    name: str
    text: str
    start: int
    end: int
    how: How
    score: float
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leftover:
    """Content that names no known skill; ``cue`` is what the grammar around it says it is."""

    text: str
    start: int
    end: int
    cue: Cue


@dataclass(frozen=True)
class Reading:
    """A prompt read against a vocabulary: what is understood, what is not, and what the prompt rules out."""

    spans: tuple[Span, ...]
    leftovers: tuple[Leftover, ...]
    excluded: tuple[str, ...] = ()

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Texts of the leftovers, each once, in order."""
        return tuple(dict.fromkeys(piece.text for piece in self.leftovers))
