"""What selection hands out: who draws what, whom to merge at which weight, what nobody draws."""

from __future__ import annotations

from pydantic import Field

from ..experts.expert import Facet, Frozen
from ..reading.request import Request


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
        request: the prompt taken apart: the words as typed, orders, text to write.
    """

    facets: tuple[FacetMatch, ...] = ()
    experts: tuple[ActiveExpert, ...] = ()
    uncovered: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    prompt: str = ""
    excluded: tuple[str, ...] = ()
    request: Request = Request(text="")
