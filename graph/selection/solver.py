"""From what a prompt asks for to the few experts that draw it together with least conflict. Deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from ..experts.expert import FACETS, Expert, Facet, Skill
from ..reading.by_meaning import refine
from ..reading.models import BASE, Leftover, Reading, Span
from ..reading.read import as_typed, facets, read
from ..reading.rules import NEUTRAL, ReadingRules
from ..reading.split import split
from ..reading.vocabulary import Vocabulary
from .activation import Activation, ActiveExpert, FacetMatch

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore, View

MAX_COMBINATIONS = 20_000
COST_OF_EXPERT = 0.15  # an expert less is worth this much quality
OVERLAP_FROM = 0.5  # cosine of two deltas from which they get in each other's way
COST_OF_OVERLAP = 0.25
COST_OF_CHECKPOINT = 0.1  # in company: a fine-tune of every weight leaves the others less room than an adapter
_QUALITY = {"works": 1.0, "weak": 0.5}
UNCALIBRATED = "was never calibrated: chosen only because nothing else draws this"


def activate(prompt: str, store: GraphStore, family: str, rules: ReadingRules = NEUTRAL) -> Activation:
    """Read a prompt against the graph and choose experts for it.

    The embedding model is loaded only if the prompt holds words that no card knows, or a doubtful alias.

    Args:
        prompt: the user's words.
        store: the graph.
        family: whose experts may be chosen.
        rules: how the base wants prompts read.

    Raises:
        UserError: an empty prompt.
    """
    view = store.view(family)
    vocabulary = _vocabulary(_Key(view, rules))
    request = split(prompt)
    reading = read(request, vocabulary)
    if view.experts or view.base:
        reading = refine(request.source, reading, vocabulary, store, family)
    found = solve(as_typed(reading, request), vocabulary, view)
    return found.model_copy(update={"request": request})


@dataclass(frozen=True, eq=False)
class _Key:
    """Lets a view key a cache by its identity in the graph's history."""

    view: View
    rules: ReadingRules = NEUTRAL

    def __hash__(self) -> int:
        return hash((self.view.stamp, self.view.family))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.view is self.view and other.rules == self.rules


@lru_cache(maxsize=8)
def _vocabulary(key: _Key) -> Vocabulary:
    return Vocabulary.of(key.view.experts, key.view.base, key.rules)


@lru_cache(maxsize=8)
def _elsewhere(key: _Key) -> Vocabulary:
    """What experts of other families can draw."""
    return Vocabulary.of(key.view.foreign, None, key.rules)


@dataclass(frozen=True)
class _Offer:
    """One expert that can draw a wanted skill."""

    expert_id: str
    skill: Skill
    quality: float
    calibrated: bool
    whole: bool = False
    """Whether it changes every weight of the base (a checkpoint, not an adapter)."""


def solve(reading: Reading, vocabulary: Vocabulary, view: View) -> Activation:
    """Choose experts for a reading: good ones, few, and with least conflict between them."""
    rejected: dict[str, str] = {}
    wanted: list[tuple[Span, str, list[_Offer], Skill]] = []
    done: list[tuple[Span, FacetMatch]] = []
    for span in reading.spans:
        name, offers, skill, by_base = _offers(span, vocabulary, view, rejected)
        if by_base or not offers:
            by = BASE if by_base else None
            done.append((span, _match(span, skill, by)))
        else:
            wanted.append((span, name, offers, skill))
    chosen = _cheapest([offers for _, _, offers, _ in wanted], view)
    for (span, _, offers, _), offer in zip(wanted, chosen, strict=True):
        done.append((span, _match(span, offer.skill, offer.expert_id)))
        for other in offers:
            if other.expert_id not in {c.expert_id for c in chosen}:
                rejected.setdefault(other.expert_id, _why_not(other, offer))
    uncalibrated = {o.expert_id for o in chosen if not o.calibrated}
    rejected |= dict.fromkeys(uncalibrated, UNCALIBRATED)
    matches = [m for _, m in sorted(done, key=lambda pair: (FACETS.index(pair[0].facet), pair[0].start))]
    unknown = [FacetMatch(facet=_guess(piece), text=piece.text) for piece in reading.leftovers]
    lost = [Leftover(s.text, s.start, s.end, "free") for s, m in done if m.by is None]
    uncovered = [p.text for p in sorted([*reading.leftovers, *lost], key=lambda p: p.start)]
    _note_foreign([*uncovered], view, vocabulary.rules, rejected)
    return Activation(
        facets=(*matches, *unknown),
        experts=_experts(matches, view, uncalibrated),
        uncovered=tuple(dict.fromkeys(uncovered)),
        rejected=tuple(sorted(rejected.items())),
        prompt=_prompt(matches),
        excluded=reading.excluded,
    )


# -- offers


def _offers(
    span: Span, vocabulary: Vocabulary, view: View, rejected: dict[str, str]
) -> tuple[str, list[_Offer], Skill, bool]:
    """Who can draw a span: (skill's name, usable experts, the skill, whether the base does it itself)."""
    first: Skill | None = None
    for name in (span.name, *span.others):
        owners = vocabulary.owners.get((span.facet, name), [])
        for owner, skill in owners:
            first = first or skill
            if owner == BASE:
                return name, [], skill, True
        offers = _usable(owners, view, rejected)
        if offers:
            return name, offers, offers[0].skill, False
    return span.name, [], first or Skill(facet=span.facet, name=span.name, trigger=span.name), False


def _usable(owners: list[tuple[str, Skill]], view: View, rejected: dict[str, str]) -> list[_Offer]:
    experts = {e.id: e for e in view.experts}
    offers: list[_Offer] = []
    for owner, skill in owners:
        calibration = view.calibrations.get(owner)
        whole = experts[owner].kind == "checkpoint"
        if calibration is None:
            offers.append(_Offer(owner, skill, 0.0, calibrated=False, whole=whole))
        elif not calibration.usable:
            rejected.setdefault(owner, f"calibration found: {calibration.verdict}")
        else:
            gains = (calibration.gain.get(key) for key in (skill.name, skill.trigger, skill.facet))
            gain = next((g for g in gains if g is not None), 0.5)
            quality = 0.7 * _QUALITY[calibration.verdict] + 0.3 * min(max(gain, 0.0), 1.0)
            offers.append(_Offer(owner, skill, quality, calibrated=True, whole=whole))
    originals = {_original(experts[o.expert_id], offers, view) for o in offers}
    for offer in offers:
        if offer.expert_id not in originals:
            kept = _original(experts[offer.expert_id], offers, view)
            rejected.setdefault(offer.expert_id, f"a copy of {kept}")
    offers = [o for o in offers if o.expert_id in originals]
    return [o for o in offers if o.calibrated] or offers


def _original(expert: Expert, offers: list[_Offer], view: View) -> str:
    """Of an expert and its copies among the offers, the one that the others come from."""
    experts = {e.id: e for e in view.experts}
    same = {expert.id}
    grown = True
    while grown:
        linked = {
            r.other(i)
            for r in view.relations
            if r.kind == "duplicate"
            for i in (r.a, r.b)
            if i in same and r.other(i) in experts
        }
        linked |= {o.expert_id for o in offers if any(experts[o.expert_id].sha256 == experts[i].sha256 for i in same)}
        grown = not linked <= same
        same |= linked
    known = {o.expert_id for o in offers} & same

    def origin(i: str) -> tuple[str, int, int, str]:
        # What says more of an origin comes first: the date, the samples that a copy seldom brings, who came first.
        return (experts[i].created or "9999", -experts[i].samples, view.registered.get(i, 0), i)

    return min(known, key=origin)


def _why_not(other: _Offer, chosen: _Offer) -> str:
    if not other.calibrated:
        return "was never calibrated, and another expert draws this"
    return f"{chosen.expert_id} fits better"


# -- choice


def _cheapest(offers: list[list[_Offer]], view: View) -> list[_Offer]:
    """One offer per wanted skill, at least cost together; exact while there are few combinations, greedy beyond."""
    if not offers:
        return []
    relations: dict[frozenset[str], float] = {}
    for relation in view.relations:
        pair = frozenset((relation.a, relation.b))
        relations[pair] = relations.get(pair, 0.0) + _price(relation.kind, relation.value)
    if prod(len(o) for o in offers) <= MAX_COMBINATIONS:
        ranked = ((_cost(c, relations), [o.expert_id for o in c], c) for c in product(*offers))
        return list(min(ranked, key=lambda r: r[:2])[2])
    chosen: list[_Offer] = []
    for choices in offers:
        chosen.append(min(choices, key=lambda o: (_cost([*chosen, o], relations), o.expert_id)))
    return chosen


def _price(kind: str, value: float) -> float:
    """What two experts cost together beyond what each costs alone."""
    if kind != "overlap":
        return 0.0
    return COST_OF_OVERLAP * max(0.0, abs(value) - OVERLAP_FROM) / (1 - OVERLAP_FROM)


def _cost(chosen: Sequence[_Offer], relations: dict[frozenset[str], float]) -> float:
    ids = sorted({o.expert_id for o in chosen})
    pairs = sum(relations.get(frozenset((a, b)), 0.0) for n, a in enumerate(ids) for b in ids[n + 1 :])
    whole = len({o.expert_id for o in chosen if o.whole}) if len(ids) > 1 else 0
    return round(sum(1 - o.quality for o in chosen) + COST_OF_EXPERT * len(ids) + COST_OF_CHECKPOINT * whole + pairs, 9)


# -- the answer


def _match(span: Span, skill: Skill, by: str | None) -> FacetMatch:
    return FacetMatch(
        facet=span.facet, text=span.text, skill=skill.name, trigger=skill.trigger, by=by, score=round(span.score, 4)
    )


def _experts(matches: list[FacetMatch], view: View, uncalibrated: set[str]) -> tuple[ActiveExpert, ...]:
    found: dict[str, list[FacetMatch]] = {}
    for match in matches:
        if match.by not in (None, BASE):
            found.setdefault(str(match.by), []).append(match)
    return tuple(
        ActiveExpert(
            id=i,
            facet=draws[0].facet,
            trigger=draws[0].trigger,
            triggers=tuple(dict.fromkeys(m.trigger for m in draws)),
            weight=view.calibrations[i].best_weight if i in view.calibrations else 1.0,
            calibrated=i not in uncalibrated,
        )
        for i, draws in sorted(found.items())
    )


def _prompt(matches: list[FacetMatch]) -> str:
    """ "subject, style, background": the grammar that base and experts were trained on; several subjects joined by
    "and".
    """
    drawn = [m for m in matches if m.by is not None]
    parts: list[str] = []
    for facet in FACETS:
        triggers = list(dict.fromkeys(m.trigger or m.text for m in drawn if m.facet == facet))
        parts += [" and ".join(triggers)] if facet == "subject" and triggers else triggers
    return ", ".join(parts)


def _guess(piece: Leftover) -> Facet:
    return piece.cue if piece.cue in ("style", "background") else "subject"


def _note_foreign(uncovered: list[str], view: View, rules: ReadingRules, rejected: dict[str, str]) -> None:
    """Say which experts of other families would draw what is missing here."""
    if not uncovered or not view.foreign:
        return
    elsewhere = _elsewhere(_Key(view, rules))
    families = {e.id: e.base_family for e in view.foreign}
    for text in uncovered:
        for span in facets(text, elsewhere).spans:
            for owner, _ in elsewhere.owners.get((span.facet, span.name), []):
                rejected.setdefault(owner, f"is made for base family {families[owner]}, not {view.family}")
