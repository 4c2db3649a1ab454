"""From what a prompt asks for to the few experts that draw it together with least conflict. Deterministic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..reading.by_meaning import refine
from ..reading.read import as_typed, read
from ..reading.request import ExpertOrder
from ..reading.rules import NEUTRAL, ReadingRules
from ..reading.split import split
from ..reading.unheard import without_unheard
from ..reading.words import tokenise
from . import closed_vocabulary, open_vocabulary
from .activation import Activation
from .called_for import called_for
from .candidates import ViewKey, vocabulary_of
from .set_aside import set_aside
from .shortlist import shortlist
from .triggers import Position

if TYPE_CHECKING:
    from ..calibration.record import Calibration
    from ..store.graph_store import GraphStore


def activate(
    prompt: str,
    store: GraphStore,
    family: str,
    rules: ReadingRules = NEUTRAL,
    *,
    vocabulary: Literal["open", "closed"] = "closed",
    ordered: Mapping[str, ExpertOrder] | None = None,
    without: Set[str] = frozenset(),
    position: Position = "front",
    counts: Callable[[Calibration], bool] | None = None,
) -> Activation:
    """Read a prompt against the graph and choose experts for it.

    The embedding model is loaded only if the prompt holds words that no card knows, or a doubtful alias.

    Args:
        prompt: the user's words.
        store: the graph.
        family: whose experts may be chosen.
        rules: how the base wants prompts read.
        vocabulary: "open" for a base that draws what it is told.
        ordered: of an open vocabulary: expert id -> the order, of those that the request names.
        without: ids of experts that the request rules out.
        position: where triggers stand that the words lack.
        counts: tells of a calibration whether it counts; all do by default.

    Raises:
        UserError: an empty prompt.
    """
    request = split(prompt)
    if vocabulary == "open":
        request = without_unheard(request)
    found_few = shortlist(request, store, family, ordered or ()) if vocabulary == "open" else None
    view = found_few.view if found_few else store.view(family)
    known = vocabulary_of(ViewKey(view, rules))
    reading = read(request, known)
    if (found_few is None or found_few.whole) and (view.experts or view.base):
        reading = refine(request.source, reading, known, store, family)
    if counts is not None:
        view = replace(view, calibrations={i: c for i, c in view.calibrations.items() if counts(c)})
    if found_few is None:
        found = closed_vocabulary.solve(as_typed(reading, request), known, view, without)
        aside = set_aside(request, store, family, of_other_bases=False)
        return _told(found.model_copy(update={"request": request}), aside)
    tokens = tokenise(request.plain)
    calling = tuple(s for s in reading.spans if called_for(s, request.source, tokens, rules))
    passing = replace(reading, spans=tuple(s for s in reading.spans if s not in calling), leftovers=())
    chosen = open_vocabulary.choose(
        request,
        as_typed(replace(reading, spans=calling), request),
        as_typed(passing, request).spans,
        known,
        view,
        found_few,
        ordered=ordered,
        without=without,
        position=position,
    )
    return _told(chosen, set_aside(request, store, family))


def _told(found: Activation, aside: Sequence[tuple[str, str]]) -> Activation:
    """An activation that says first who was named and may not be used."""
    known = {i for i, _ in found.rejected} | {e.id for e in found.experts}
    fresh = tuple((i, why) for i, why in aside if i not in known)
    return found.model_copy(update={"rejected": (*fresh, *found.rejected)}) if fresh else found
