"""Experts that a prompt names and that may not be used: switched off, gone, or made for another base. They are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..experts.expert import Expert
from ..finding.asked import Asked
from ..finding.index import LEAST_ASIDE
from ..finding.rarity import PLAIN
from ..finding.terms import squashed
from ..reading.request import Request
from .shortlist import asked_for

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore

NAMED_FROM = 0.9
"""What a name must weigh (rarity among prompts, squared) to name anybody: "girl" does not, "sketch" does."""
MOST_TOLD = 6


def set_aside(
    request: Request, store: GraphStore, family: str, *, of_other_bases: bool = True
) -> tuple[tuple[str, str], ...]:
    """(id, why it may not be used) of experts whose trigger, title or file name the words say; the rarest names first.

    Args:
        request: what was typed.
        store: the graph.
        family: of the base in force.
        of_other_bases: whether experts for other bases are told, too, where nobody for this one is called so.
    """
    names: dict[str, float] = {}
    asked = Asked(asked_for(request), PLAIN)
    for run in asked.runs:
        name, weight = squashed("".join(run), LEAST_ASIDE), asked.weight_of(run)
        if name and weight >= NAMED_FROM:
            names[name] = max(names.get(name, 0.0), weight)
    here = {name for name, _, _ in store.words.called(family, names)}
    weights: dict[str, float] = {}
    alone: set[str] = set()
    for name, expert_id in store.words.set_aside(family, names):
        weights[expert_id] = max(weights.get(expert_id, 0.0), names[name])
        alone |= set() if name in here else {expert_id}
    others = alone if of_other_bases else set()
    known = [e for e in store.some(weights).values() if e.base_family == family or e.id in others]
    known.sort(key=lambda e: (e.base_family != family, -weights[e.id], e.id))
    return tuple((e.id, _why(e, family)) for e in known[:MOST_TOLD])


def _why(expert: Expert, family: str) -> str:
    if expert.base_family != family:
        return f"is made for base family {expert.base_family}, not {family}"
    if expert.missing:
        return "the prompt names it, but its file is gone"
    return f"the prompt names it, but it is switched off: diffgraph expert {expert.id} --on"
