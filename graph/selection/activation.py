"""What selection hands out: who draws what, whom to merge at which weight, what nobody draws."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

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
    """An expert to merge.

    Attributes:
        facet: what it is in for; "" if nothing says it.
        trigger: the first of ``triggers``, "" if it has none.
        weight: the ordered one, else the best of its calibration, else a guess.
        text_weight: in the text encoders, where another one is ordered.
        calibrated: whether it was measured. ordered: whether the request names it, so that its weight stands.
        why: what in the words speaks for it, the strongest first; of an open vocabulary.
    """

    id: str
    facet: Facet | Literal[""]
    trigger: str
    weight: float = Field(default=1.0, allow_inf_nan=False)
    triggers: tuple[str, ...] = ()
    calibrated: bool = True
    ordered: bool = False
    text_weight: float | None = Field(default=None, allow_inf_nan=False)
    why: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _as_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is said of few experts only."""
        out: dict[str, Any] = handler(self)
        spare = {"ordered": False, "text_weight": None, "why": ()}
        return {name: value for name, value in out.items() if name not in spare or getattr(self, name) != spare[name]}


class Activation(Frozen):
    """The solver's answer for one prompt.

    Attributes:
        facets: everything the prompt asks for, in the order of the canonical prompt.
        experts: whom to merge, sorted by id; few, and none for what the base draws itself.
        uncovered: texts of the prompt that nobody here can draw, in order; none on an open vocabulary.
        rejected: experts that claim a wanted skill and were not chosen, with the reason.
        prompt: what is sampled; empty if nothing can be drawn. Of a closed vocabulary the canonical prompt "subject,
            style, background", of an open one the user's own words with triggers put in.
        excluded: what the prompt rules out ("without a hat").
        left_to_base: of an open vocabulary: texts that no expert covers, which the base draws, in order.
        vocabulary: of the base that the experts were chosen for.
        request: the prompt taken apart: the words as typed, orders, text to write.
    """

    facets: tuple[FacetMatch, ...] = ()
    experts: tuple[ActiveExpert, ...] = ()
    uncovered: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    prompt: str = ""
    excluded: tuple[str, ...] = ()
    left_to_base: tuple[str, ...] = ()
    vocabulary: Literal["open", "closed"] = "closed"
    request: Request = Request(text="")
