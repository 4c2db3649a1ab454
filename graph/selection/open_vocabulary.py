"""Choosing experts on a base that draws what it is told: the user's own words are sampled, and experts add to them.

An expert is taken if it is ordered, or if the words call for it and its expected gain over the base is positive: what
it gains, less what it costs to have it and to have it beside the others. The base alone is always a candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from ..experts.expert import Expert, Skill
from ..finding.candidates import Candidate
from ..reading.models import BASE, Reading, Span
from ..reading.request import ExpertOrder, Request
from ..reading.vocabulary import Vocabulary
from .activation import Activation, ActiveExpert, FacetMatch
from .candidates import Offer, matched, note_foreign, prices, usable, why_not
from .shortlist import Shortlist
from .triggers import Position, says, with_triggers

if TYPE_CHECKING:
    from ..store.graph_store import View

MAX_COMBINATIONS = 20_000
MOST_EXPERTS = 4
"""So many are chosen at most; ordered ones come on top."""
PRIOR_GAIN = 0.15
"""What a claim that nobody measured is expected to gain, where the words call for it: less than any that works."""
PRIOR_WEIGHT = 0.8
"""The weight of an expert that nobody measured: what authors recommend most often, rather too little than too much."""
COST_OF_EXPERT = 0.04
SANE_SUM = 1.65
"""What the weights of several experts sum to where people take several."""
SURE_FROM = 0.1
"""Chance of being wanted from which, of many experts, one is taken though the words name it only in passing."""
LEAST_SHARE = 0.5
"""Of its weight alone, what an expert keeps among many."""
PASSING = "the words name it only in passing: the base draws them"


def choose(
    request: Request,
    reading: Reading,
    passing: Sequence[Span],
    vocabulary: Vocabulary,
    view: View,
    found: Shortlist | None = None,
    *,
    ordered: Mapping[str, ExpertOrder] | None = None,
    without: Set[str] = frozenset(),
    position: Position = "front",
) -> Activation:
    """Choose the experts that help, and put their triggers into the user's words.

    Args:
        request: what was typed.
        reading: the stretches that call for a skill, and what is left over.
        passing: stretches that name a skill and do not call for it.
        vocabulary: who has which skill.
        view: the graph.
        found: what a search by all that is said of experts found; they are taken where no stretch names them.
        ordered: expert id -> the order, of those that are taken whatever they gain.
        without: ids that are ruled out.
        position: where triggers stand.
    """
    ordered = ordered or {}
    rejected: dict[str, str] = {}
    wanted = [(span, _offers(span, vocabulary, view, rejected, without)) for span in reading.spans]
    chosen = _best([[None, *offers] for _, offers in wanted], wanted, view, set(ordered))
    facets: list[tuple[int, FacetMatch]] = []
    for (span, offers), offer in zip(wanted, chosen, strict=True):
        taken = offer or next((o for o in offers if o.expert_id in ordered), None)
        skill = taken.skill if taken else Skill(facet=span.facet, name=span.text, trigger=span.text)
        facets.append((span.start, matched(span, skill, taken.expert_id if taken else BASE)))
        for other in offers:
            if other is not taken and other.expert_id not in ordered:
                why = why_not(other, taken) if taken else "it is not expected to do better than the base alone"
                rejected.setdefault(other.expert_id, why)
    for span in passing:
        for owner, _ in vocabulary.owners.get((span.facet, span.name), []):
            if owner != BASE and owner not in ordered:
                rejected.setdefault(owner, PASSING)
    matches = tuple(match for _, match in sorted(facets, key=lambda f: f[0]))
    drawing = {m.by for m in matches}
    hinted = _hinted(found, view, {*drawing, *ordered}, without, rejected) if found else []
    drawing |= {c.id for c in hinted}
    reasons = {c.id: c.why for c in found.worthy} if found else {}
    experts = damped(_experts(matches, hinted, view, ordered, _spoken(request), reasons))
    left = [(at, match.text) for at, match in facets if match.by == BASE]
    left += [(p.start, p.text) for p in reading.leftovers] + [(p.start, p.text) for p in passing]
    to_base = tuple(dict.fromkeys(text for _, text in sorted(left)))
    note_foreign(list(to_base), view, vocabulary.rules, rejected)
    return Activation(
        facets=matches,
        experts=experts,
        rejected=tuple(sorted((i, why) for i, why in rejected.items() if i not in drawing)),
        prompt=sampled_prompt(request, [t for e in experts for t in e.triggers], position),
        excluded=reading.excluded,
        left_to_base=to_base,
        vocabulary="open",
        request=request,
    )


def _hinted(
    found: Shortlist, view: View, taken: Set[str | None], without: Set[str], rejected: dict[str, str]
) -> list[Candidate]:
    """Experts that a search found and no stretch of the words names, the likeliest first, as many as still go in."""
    known = {e.id: e for e in view.experts}
    files = {known[i].sha256 for i in taken if i in known}
    chosen: list[Candidate] = []
    for one in found.worthy:
        doubted = rejected.get(one.id)
        if one.id in taken or one.id not in known:
            continue
        if doubted is not None and not (doubted == PASSING and not found.whole and one.chance >= SURE_FROM):
            continue
        calibration = view.calibrations.get(one.id)
        if one.id in without:
            rejected[one.id] = "is ruled out by the request"
        elif calibration is not None and not calibration.usable:
            rejected[one.id] = f"calibration found: {calibration.verdict}"
        elif known[one.id].sha256 in files:
            rejected[one.id] = "a copy of one that is taken"
        elif len(taken - {BASE}) + len(chosen) >= MOST_EXPERTS:
            rejected[one.id] = f"{one.why[0] if one.why else 'found'}, and {MOST_EXPERTS} are taken before it"
        else:
            files.add(known[one.id].sha256)
            rejected.pop(one.id, None)
            chosen.append(one)
    for i, why in found.passed_over:
        rejected.setdefault(i, why)
    return chosen


def damped(experts: tuple[ActiveExpert, ...]) -> tuple[ActiveExpert, ...]:
    """Several experts that nobody measured or ordered together, each at less, so that their sum stays sane."""
    free = [e for e in experts if not (e.ordered or e.calibrated)]
    total = sum(abs(e.weight) for e in experts)
    mine = sum(abs(e.weight) for e in free)
    if len(experts) < 2 or total <= SANE_SUM or not mine:
        return experts
    share = max(LEAST_SHARE, (SANE_SUM - (total - mine)) / mine)
    return tuple(
        e.model_copy(update={"weight": round(e.weight * share, 3), "text_weight": _times(e.text_weight, share)})
        if e in free
        else e
        for e in experts
    )


def _times(weight: float | None, share: float) -> float | None:
    return None if weight is None else round(weight * share, 3)


def sampled_prompt(request: Request, triggers: Iterable[str], position: Position) -> str:
    """What is sampled for a request: its words, with the triggers put in that they lack."""
    return with_triggers(request.words, triggers, position, read=_spoken(request))


def _spoken(request: Request) -> str:
    """The words without the text that the image is to show, in which no trigger counts as said."""
    return " ".join(p.text for p in request.parts if p.kind == "words") if request.parts else request.words


def _offers(span: Span, vocabulary: Vocabulary, view: View, rejected: dict[str, str], without: Set[str]) -> list[Offer]:
    for name in (span.name, *span.others):
        owners = [(o, s) for o, s in vocabulary.owners.get((span.facet, name), []) if o != BASE]
        rejected |= {o: "is ruled out by the request" for o, _ in owners if o in without}
        offers = usable([(o, s) for o, s in owners if o not in without], view, rejected)
        if offers:
            return offers
    return []


def _best(
    choices: list[list[Offer | None]],
    wanted: Sequence[tuple[Span, list[Offer]]],
    view: View,
    ordered: set[str],
) -> list[Offer | None]:
    """One offer or none (the base) per stretch, of the highest expected gain together; greedy beyond 20,000 ways."""
    spans = [span for span, _ in wanted]
    costs = prices(view)

    def rank(ways: Iterable[Offer | None]) -> tuple[float, list[str]]:
        way = list(ways)
        return -_gain(way, spans, costs, ordered), [o.expert_id if o else "" for o in way]

    if prod(len(c) for c in choices) <= MAX_COMBINATIONS:
        allowed = (c for c in product(*choices) if len({o.expert_id for o in c if o} - ordered) <= MOST_EXPERTS)
        return list(min(allowed, key=rank))
    chosen: list[Offer | None] = [None] * len(choices)
    for at in sorted(
        range(len(choices)), key=lambda i: -max((_expected(o, spans[i]) for o in choices[i] if o), default=0)
    ):
        full = len({o.expert_id for o in chosen if o} - ordered) >= MOST_EXPERTS
        ways = [[*chosen[:at], o, *chosen[at + 1 :]] for o in ([None] if full else choices[at])]
        chosen = min(ways, key=rank)
    return chosen


def _expected(offer: Offer, span: Span) -> float:
    return span.score * (PRIOR_GAIN if offer.gain is None else offer.gain)


def _gain(
    chosen: Sequence[Offer | None], spans: Sequence[Span], costs: Mapping[frozenset[str], float], ordered: set[str]
) -> float:
    """Expected gain over the base of a choice; experts that are there anyway cost nothing more."""
    ids = sorted({o.expert_id for o in chosen if o} | ordered)
    pairs = sum(costs.get(frozenset((a, b)), 0.0) for n, a in enumerate(ids) for b in ids[n + 1 :])
    gained = sum(_expected(o, span) for o, span in zip(chosen, spans, strict=True) if o)
    return round(gained - COST_OF_EXPERT * len(set(ids) - ordered) - pairs, 9)


def _experts(
    matches: Sequence[FacetMatch],
    hinted: Sequence[Candidate],
    view: View,
    ordered: Mapping[str, ExpertOrder],
    spoken: str,
    why: Mapping[str, tuple[str, ...]],
) -> tuple[ActiveExpert, ...]:
    drawn: dict[str, list[FacetMatch]] = {i: [] for i in (*ordered, *(c.id for c in hinted))}
    for match in matches:
        if match.by is not None and match.by != BASE:
            drawn.setdefault(match.by, []).append(match)
    known = {e.id: e for e in (*view.experts, *view.foreign)}
    active = (_active(known[i], found, view, ordered.get(i), spoken) for i, found in sorted(drawn.items()))
    asked = {i: tuple(f"the words ask for {m.text!r}" for m in found[:2]) for i, found in drawn.items()}
    return tuple(e if e.ordered else e.model_copy(update={"why": why.get(e.id) or asked[e.id]}) for e in active)


def _active(
    expert: Expert, matches: Sequence[FacetMatch], view: View, order: ExpertOrder | None, spoken: str
) -> ActiveExpert:
    calibration = view.calibrations.get(expert.id)
    weight, text_weight = (order.weight, order.text_weight) if order else (None, None)
    if weight is None and calibration is not None:
        weight = calibration.best_weight
    elif weight is None:
        weight, text_weight = (PRIOR_WEIGHT, None) if expert.weight is None else (expert.weight, expert.clip_weight)
    pushes = weight > 0 or (text_weight or 0.0) > 0
    triggers = triggers_of(expert, [m.trigger for m in matches], spoken) if pushes else ()
    facet = matches[0].facet if matches else expert.skills[0].facet if expert.skills else ""
    return ActiveExpert(
        id=expert.id,
        facet=facet,
        trigger=triggers[0] if triggers else "",
        triggers=triggers,
        weight=weight,
        text_weight=text_weight,
        calibrated=calibration is not None,
        ordered=order is not None,
    )


def triggers_of(expert: Expert, called: Iterable[str], spoken: str) -> tuple[str, ...]:
    """The words that an expert is to be called by: those of the skills that are called for, each with the others of its
    group. Where no skill is, the group that the words say most of, and none where they say nothing of several: which of
    them is meant only the user knows.
    """
    wanted = [t for t in dict.fromkeys(called) if t]
    groups = [tuple(t for t in group if t) for group in expert.triggers]
    groups = [group for group in groups if group] or [(s.trigger,) for s in expert.skills if s.trigger]
    if wanted:
        return tuple(dict.fromkeys(word for trigger in wanted for word in _group_of(trigger, groups)))
    said = [sum(says(spoken, t) for t in group) for group in groups]
    return groups[said.index(max(said))] if len(groups) == 1 or any(said) else ()


def _group_of(trigger: str, groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The words that a skill's trigger stands for: the group that it is of, or, of a whole group in a line, each."""
    group = next((one for one in groups if trigger in one), None)
    if group is not None:
        return group
    words = tuple(word for part in trigger.split(",") if (word := part.strip()))
    return words if any(set(words) <= set(one) for one in groups) else (trigger,)
