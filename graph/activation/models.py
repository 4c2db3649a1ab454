"""What reading and solving hand out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ..expert import Facet, Frozen

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


class FacetMatch(Frozen):
    """One thing that the prompt asks for and who draws it.

    Attributes:
        text: as it stands in the prompt.
        skill, trigger: the skill's name and trigger; both empty if nobody claims it.
        by: an expert's id, ``base``, or None: nobody can, or nobody that calibration trusts.
        score: how sure the match is, 0..1.
    """

    facet: Facet
    text: str
    skill: str = ""
    trigger: str = ""
    by: str | None = None
    score: float = 0.0


class ActiveExpert(Frozen):
    """An expert to merge: ``weight`` is the best one of its calibration; 1.0 if it was never calibrated (``calibrated``
    says so).
    """

    id: str
    facet: Facet
    trigger: str
    weight: float = Field(default=1.0, allow_inf_nan=False)
    triggers: tuple[str, ...] = ()
    calibrated: bool = True


class Activation(Frozen):
    """The solver's answer for one prompt.

    Attributes:
        facets: everything the prompt asks for, in the order of the canonical prompt.
        experts: whom to merge, sorted by id; few, and none for what the base draws itself.
        uncovered: texts of the prompt that nobody here can draw, in order.
        rejected: experts that claim a wanted skill and were not chosen, with the reason.
        prompt: the canonical prompt "subject, style, background"; empty if nothing can be drawn.
        excluded: what the prompt rules out ("without a hat").
    """

    facets: tuple[FacetMatch, ...] = ()
    experts: tuple[ActiveExpert, ...] = ()
    uncovered: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    prompt: str = ""
    excluded: tuple[str, ...] = ()
