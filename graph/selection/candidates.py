"""Who can draw what a prompt asks for: offers of experts, copies apart from their originals, what is made for others.

Shared by both ways of choosing, `closed_vocabulary` and `open_vocabulary`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ..experts.expert import Expert, Skill
from ..reading.models import Span
from ..reading.read import facets
from ..reading.rules import NEUTRAL, ReadingRules
from ..reading.vocabulary import Vocabulary
from .activation import FacetMatch

if TYPE_CHECKING:
    from ..store.graph_store import View

OVERLAP_FROM = 0.5  # cosine of two deltas from which they get in each other's way
COST_OF_OVERLAP = 0.25
_QUALITY = {"works": 1.0, "weak": 0.5}


@dataclass(frozen=True, eq=False)
class ViewKey:
    """Lets a view key a cache by its identity in the graph's history."""

    view: View
    rules: ReadingRules = NEUTRAL

    def __hash__(self) -> int:
        return hash((self.view.stamp, self.view.family))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ViewKey) and other.view is self.view and other.rules == self.rules


@lru_cache(maxsize=8)
def vocabulary_of(key: ViewKey) -> Vocabulary:
    """What the base and its experts can draw, by all names."""
    return Vocabulary.of(key.view.experts, key.view.base, key.rules)


@lru_cache(maxsize=8)
def elsewhere(key: ViewKey) -> Vocabulary:
    """What experts of other families can draw."""
    return Vocabulary.of(key.view.foreign, None, key.rules)


@dataclass(frozen=True)
class Offer:
    """One expert that can draw a wanted skill.

    Attributes:
        quality: 0..1 by what was measured; 0 if nothing was.
        gain: mean score (0..1) over the base's own that was measured for the skill; None if nothing was.
        whole: whether it changes every weight of the base (a checkpoint, not an adapter).
    """

    expert_id: str
    skill: Skill
    quality: float
    gain: float | None = None
    whole: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether it was measured."""
        return self.gain is not None


def usable(owners: list[tuple[str, Skill]], view: View, rejected: dict[str, str]) -> list[Offer]:
    """Offers of those that may be chosen: measured ones if there are any, of copies the original only; the reasons
    against the others go into ``rejected``.
    """
    experts = {e.id: e for e in view.experts}
    offers: list[Offer] = []
    for owner, skill in owners:
        calibration = view.calibrations.get(owner)
        whole = experts[owner].kind == "checkpoint"
        if calibration is None:
            offers.append(Offer(owner, skill, 0.0, whole=whole))
        elif not calibration.usable:
            rejected.setdefault(owner, f"calibration found: {calibration.verdict}")
        else:
            gains = (calibration.gain.get(key) for key in (skill.name, skill.trigger, skill.facet))
            gain = next((g for g in gains if g is not None), 0.5)
            quality = 0.7 * _QUALITY[calibration.verdict] + 0.3 * min(max(gain, 0.0), 1.0)
            offers.append(Offer(owner, skill, quality, gain, whole))
    originals = {_original(experts[o.expert_id], offers, view) for o in offers}
    for offer in offers:
        if offer.expert_id not in originals:
            kept = _original(experts[offer.expert_id], offers, view)
            rejected.setdefault(offer.expert_id, f"a copy of {kept}")
    offers = [o for o in offers if o.expert_id in originals]
    return [o for o in offers if o.calibrated] or offers


def _original(expert: Expert, offers: list[Offer], view: View) -> str:
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


def why_not(other: Offer, chosen: Offer) -> str:
    """Why an offer gave way to another for the same skill."""
    if not other.calibrated:
        return "was never calibrated, and another expert draws this"
    return f"{chosen.expert_id} fits better"


def price(kind: str, value: float) -> float:
    """What two experts cost together beyond what each costs alone."""
    if kind != "overlap":
        return 0.0
    return COST_OF_OVERLAP * max(0.0, abs(value) - OVERLAP_FROM) / (1 - OVERLAP_FROM)


def prices(view: View) -> dict[frozenset[str], float]:
    """What pairs of experts cost together, where it was measured."""
    found: dict[frozenset[str], float] = {}
    for relation in view.relations:
        pair = frozenset((relation.a, relation.b))
        found[pair] = found.get(pair, 0.0) + price(relation.kind, relation.value)
    return found


def matched(span: Span, skill: Skill, by: str | None) -> FacetMatch:
    """A stretch of the prompt and who draws it."""
    return FacetMatch(
        facet=span.facet, text=span.text, skill=skill.name, trigger=skill.trigger, by=by, score=round(span.score, 4)
    )


def note_foreign(missing: list[str], view: View, rules: ReadingRules, rejected: dict[str, str]) -> None:
    """Say which experts of other families would draw what is missing here."""
    if not missing or not view.foreign:
        return
    others = elsewhere(ViewKey(view, rules))
    families = {e.id: e.base_family for e in view.foreign}
    for text in missing:
        for span in facets(text, others).spans:
            for owner, _ in others.owners.get((span.facet, span.name), []):
                rejected.setdefault(owner, f"is made for base family {families[owner]}, not {view.family}")
