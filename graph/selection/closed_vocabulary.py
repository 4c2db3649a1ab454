"""Choosing experts on a base that draws only what is listed: all of the prompt is drawn by somebody or named missing.

The prompt that is sampled is the canonical one, made of triggers.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from ..experts.expert import FACETS, Facet, Skill
from ..reading.models import BASE, Leftover, Reading, Span
from ..reading.vocabulary import Vocabulary
from .activation import Activation, ActiveExpert, FacetMatch
from .candidates import Offer, matched, note_foreign, prices, usable, why_not

if TYPE_CHECKING:
    from ..store.graph_store import View

MAX_COMBINATIONS = 20_000
COST_OF_EXPERT = 0.15  # an expert less is worth this much quality
COST_OF_CHECKPOINT = 0.1  # in company: a fine-tune of every weight leaves the others less room than an adapter
RULED_OUT = "is ruled out by the request"
UNCALIBRATED = "was never calibrated: chosen only because nothing else draws this"


def solve(reading: Reading, vocabulary: Vocabulary, view: View, without: Set[str] = frozenset()) -> Activation:
    """Choose experts for a reading: good ones, few, and with least conflict between them; none that is ruled out."""
    rejected: dict[str, str] = {}
    wanted: list[tuple[Span, str, list[Offer], Skill]] = []
    done: list[tuple[Span, FacetMatch]] = []
    for span in reading.spans:
        name, offers, skill, by_base = _offers(span, vocabulary, view, rejected, without)
        if by_base or not offers:
            by = BASE if by_base else None
            done.append((span, matched(span, skill, by)))
        else:
            wanted.append((span, name, offers, skill))
    chosen = _cheapest([offers for _, _, offers, _ in wanted], view)
    for (span, _, offers, _), offer in zip(wanted, chosen, strict=True):
        done.append((span, matched(span, offer.skill, offer.expert_id)))
        for other in offers:
            if other.expert_id not in {c.expert_id for c in chosen}:
                rejected.setdefault(other.expert_id, why_not(other, offer))
    uncalibrated = {o.expert_id for o in chosen if not o.calibrated}
    rejected |= dict.fromkeys(uncalibrated, UNCALIBRATED)
    matches = [m for _, m in sorted(done, key=lambda pair: (FACETS.index(pair[0].facet), pair[0].start))]
    unknown = [FacetMatch(facet=_guess(piece), text=piece.text) for piece in reading.leftovers]
    lost = [Leftover(s.text, s.start, s.end, "free") for s, m in done if m.by is None]
    uncovered = [p.text for p in sorted([*reading.leftovers, *lost], key=lambda p: p.start)]
    note_foreign([*uncovered], view, vocabulary.rules, rejected)
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
    span: Span, vocabulary: Vocabulary, view: View, rejected: dict[str, str], without: Set[str]
) -> tuple[str, list[Offer], Skill, bool]:
    """Who can draw a span: (skill's name, usable experts, the skill, whether the base does it itself)."""
    first: Skill | None = None
    for name in (span.name, *span.others):
        owners = vocabulary.owners.get((span.facet, name), [])
        for owner, skill in owners:
            first = first or skill
            if owner == BASE:
                return name, [], skill, True
        rejected |= {owner: RULED_OUT for owner, _ in owners if owner in without}
        offers = usable([pair for pair in owners if pair[0] not in without], view, rejected)
        if offers:
            return name, offers, offers[0].skill, False
    return span.name, [], first or Skill(facet=span.facet, name=span.name, trigger=span.name), False


# -- choice


def _cheapest(offers: list[list[Offer]], view: View) -> list[Offer]:
    """One offer per wanted skill, at least cost together; exact while there are few combinations, greedy beyond."""
    if not offers:
        return []
    relations = prices(view)
    if prod(len(o) for o in offers) <= MAX_COMBINATIONS:
        ranked = ((_cost(c, relations), [o.expert_id for o in c], c) for c in product(*offers))
        return list(min(ranked, key=lambda r: r[:2])[2])
    chosen: list[Offer] = []
    for choices in offers:
        chosen.append(min(choices, key=lambda o: (_cost([*chosen, o], relations), o.expert_id)))
    return chosen


def _cost(chosen: Sequence[Offer], relations: dict[frozenset[str], float]) -> float:
    ids = sorted({o.expert_id for o in chosen})
    pairs = sum(relations.get(frozenset((a, b)), 0.0) for n, a in enumerate(ids) for b in ids[n + 1 :])
    whole = len({o.expert_id for o in chosen if o.whole}) if len(ids) > 1 else 0
    return round(sum(1 - o.quality for o in chosen) + COST_OF_EXPERT * len(ids) + COST_OF_CHECKPOINT * whole + pairs, 9)


# -- the answer


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
