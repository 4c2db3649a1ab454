"""From a plan to what there is to do: one task for every weight that the plan changes."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ...bases.index import BaseIndex
from ..methods import MergeMethod, Part
from ..methods.method import seed_of
from ..plan.block_weights import BlockWeights
from ..plan.merge_plan import MergePlan, PlanExpert

if TYPE_CHECKING:
    from ..deltas.delta import Delta
    from ..deltas.expert_delta import ExpertDelta


class Recipe(NamedTuple):
    """Everything that decides a merged weight's bits, on one base: equal recipes, equal bits.

    Attributes:
        method: the method with its parameters, as text.
        shares: (sha256, facet, weight) of every expert that takes part, in order of the sha256.
    """

    method: str
    shares: tuple[tuple[str, str, float], ...]


@dataclass(eq=False)
class MergeTask:
    """Merge some experts' parts into one weight.

    Attributes:
        target: the weight.
        recipe: tells whether a weight has to be merged again; tasks that share theirs hold the same object.
        method: the plan's method.
        experts: whose deltas take part, one for each of the recipe's shares.
        seed: for methods that draw.
    """

    target: str
    recipe: Recipe
    method: MergeMethod = field(repr=False)
    experts: tuple[ExpertDelta, ...] = field(repr=False)
    seed: int = 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """The experts' parts, in order of their sha256."""
        some = zip(self.recipe.shares, self.experts, strict=True)
        return tuple([Part(*share, expert.deltas[self.target], expert.norm) for share, expert in some])

    def delta(self) -> Delta:
        """What to add to the base's weight. Raises PlanError as the method does."""
        delta = self.method.merge(self.parts, self.seed)
        assert delta is not None  # no part has weight 0
        return delta

    def norm(self) -> float:
        """Frobenius norm of the delta, remembered."""
        return self._norm

    @cached_property
    def _norm(self) -> float:
        return self.delta().norm()


def tasks_of(
    plan: MergePlan,
    method: MergeMethod,
    specs: Sequence[PlanExpert],
    experts: Sequence[ExpertDelta],
    weights: Sequence[float],
    base: BaseIndex,
    known: Container[str],
) -> dict[str, MergeTask]:
    """Target -> task, for all targets in ``known`` that some expert has a weight at.

    Args:
        plan: the merge plan.
        method: its method.
        specs: its experts of non-zero weight, sorted by sha256.
        experts: what was read for each of them.
        weights: the weight of each, as the method balances them.
        base: index of the base, for block patterns and the order of the tasks: that of the weights in their files.
        known: targets that the pipeline has.

    Raises:
        PlanError: a block pattern that matches no module.
    """
    sharing = _sharing(specs, experts, weights, base)
    head, place = _method_text(plan), base.order
    recipes: dict[tuple[_Share, ...], tuple[Recipe, tuple[ExpertDelta, ...]]] = {}
    out: dict[str, MergeTask] = {}
    # Disks and caches like to be read forwards.
    for target in sorted(sharing, key=lambda target: (place.get(target, -1), target)):
        some = sharing[target]
        if not some or target not in known:
            continue
        if some not in recipes:
            shares = tuple([share.what for share in some])
            recipes[some] = Recipe(head, shares), tuple([share.expert for share in some])
        recipe, takes_part = recipes[some]
        out[target] = MergeTask(target, recipe, method, takes_part, seed_at(plan, target) if method.seeded else 0)
    return out


@dataclass(frozen=True, eq=False)
class _Share:
    """What one expert adds wherever it has this weight: the same object at all those targets."""

    what: tuple[str, str, float]
    expert: ExpertDelta


def _sharing(
    specs: Sequence[PlanExpert], experts: Sequence[ExpertDelta], weights: Sequence[float], base: BaseIndex
) -> dict[str, tuple[_Share, ...]]:
    """Target -> who has a weight there, in the order given."""
    some = [BlockWeights(spec, base) for spec in specs]
    if all(blocks.plain for blocks in some) and all(e.deltas.keys() == experts[0].deltas.keys() for e in experts):
        told = zip(specs, experts, weights, strict=True)
        everyone = tuple([_Share((spec.sha256, spec.facet, at), expert) for spec, expert, at in told if at != 0.0])
        return dict.fromkeys(experts[0].deltas if experts else (), everyone)
    out: dict[str, list[_Share]] = {}
    for spec, expert, weight, blocks in zip(specs, experts, weights, some, strict=True):
        made: dict[float, _Share] = {}
        for target in expert.deltas:
            if (at := weight * blocks.factor(target)) == 0.0:
                continue
            if at not in made:
                made[at] = _Share((spec.sha256, spec.facet, at), expert)
            out.setdefault(target, []).append(made[at])
    return {target: tuple(shares) for target, shares in out.items()}


def seed_at(plan: MergePlan, target: str) -> int:
    """What a seeded method draws with at a target: the method, its parameters and the target decide."""
    return seed_of(_method_text(plan), target)


def _method_text(plan: MergePlan) -> str:
    return json.dumps(plan.method.model_dump(mode="json"), sort_keys=True)


def changed(tasks: Mapping[str, MergeTask], live: Mapping[str, Recipe]) -> list[MergeTask]:
    """The tasks whose weight is not merged by that very recipe now."""
    return [task for target, task in tasks.items() if live.get(target) != task.recipe]
