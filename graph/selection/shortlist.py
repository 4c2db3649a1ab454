"""The experts that a prompt may be asking for, found in a graph of any size, and the view in which they are chosen.

A small graph is looked at whole. Of a big one only those are read whose chance of being wanted is worth a look.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..finding.candidates import Candidate, candidates
from ..finding.reasons import BY_KIN
from ..reading.request import Request

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore
    from ..store.rows import View

WHOLE_UP_TO = 100
"""A graph of so many experts is looked at whole."""
CALLED_FROM, HINTED_FROM = 0.02, 0.06
"""Chance of being wanted from which an expert is worth a choice: if the words say a name of it, and if they do not."""
HINTED_AMONG_FEW = 0.3
"""The latter in a graph that is looked at whole: chances were learnt among many, and the best of few is none yet."""
PASSED_OVER = 6
_MOST = 40


@dataclass(frozen=True)
class Shortlist:
    """What a search found.

    Attributes:
        worthy: experts that are worth a choice, the likeliest first.
        passed_over: (id, why) of the next ones.
        view: what choosing needs to know.
        whole: whether the view holds every expert of the family.
    """

    worthy: tuple[Candidate, ...]
    passed_over: tuple[tuple[str, str], ...]
    view: View
    whole: bool


def asked_for(request: Request) -> str:
    """The words by which a request's experts are searched: what is ruled out or ordered is no part of them."""
    return f"{request.plain} {request.words}" if request.language else request.plain


def shortlist(request: Request, store: GraphStore, family: str, ordered: Collection[str] = ()) -> Shortlist:
    """Search for a request's experts.

    Args:
        request: what was typed, taken apart.
        store: the graph.
        family: whose experts.
        ordered: ids of experts that the request names: they are in the view, whatever family they are of.
    """
    whole = store.words.count() <= WHOLE_UP_TO
    found = candidates(asked_for(request), store, family, most=_MOST, meaning=not whole)
    hinted = HINTED_AMONG_FEW if whole else HINTED_FROM
    worthy = tuple(c for c in found if c.chance >= (CALLED_FROM if c.called else hinted))
    view = store.view(family) if whole else store.view_of(family, [*(c.id for c in worthy), *ordered])
    passed = [c for c in found if c not in worthy and c.id not in ordered and c.why not in ((), (BY_KIN,))][
        :PASSED_OVER
    ]
    told = tuple((c.id, f"{c.why[0]}, yet {_hardly(c.chance)}") for c in passed)
    return Shortlist(worthy, told, view, whole)


def _hardly(chance: float) -> str:
    return (
        f"by all of its words the prompt wants it with a chance of {chance:.0%}"
        if chance >= 0.01
        else ("by all of its words the prompt does not want it")
    )
