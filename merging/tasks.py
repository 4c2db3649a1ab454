"""From a plan to what there is to do: one task for every weight that the plan changes."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from .base import BaseIndex
from .formats import ExpertDelta
from .methods import MergeMethod, Part
from .methods.registry import seed_of
from .plan import MergePlan, PlanExpert
from .weights import BlockWeights

if TYPE_CHECKING:
    from .delta import Delta

Recipe = tuple[object, ...]
"""Everything that decides a merged weight's bits, on one base: equal recipes, equal bits."""


@dataclass(eq=False)
class Task:
    """Merge some experts' parts into one weight.

    Attributes:
        target: the weight.
        recipe: tells whether a weight has to be merged again.
        method: the plan's method.
        parts: the experts' parts, in order of their sha256.
        seed: for methods that draw.
    """

    target: str
    recipe: Recipe
    method: MergeMethod = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)
    seed: int = 0

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
) -> dict[str, Task]:
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
    parts: dict[str, list[Part]] = {}
    for spec, expert, weight in zip(specs, experts, weights, strict=True):
        blocks, norm = BlockWeights(spec, base), expert.norm
        plain = blocks.plain
        for target, delta in expert.deltas.items():
            if target in known and (at := weight if plain else weight * blocks.factor(target)) != 0.0:
                parts.setdefault(target, []).append(Part(spec.sha256, spec.facet, at, delta, norm))
    head, place = _method_text(plan), base.order
    out: dict[str, Task] = {}
    # Disks and caches like to be read forwards.
    for target in sorted(parts, key=lambda target: (place.get(target, -1), target)):
        some = tuple(parts[target])
        recipe = (head, tuple([part[:3] for part in some]))
        out[target] = Task(target, recipe, method, some, seed_at(plan, target) if method.seeded else 0)
    return out


def seed_at(plan: MergePlan, target: str) -> int:
    """What a seeded method draws with at a target: the method, its parameters and the target decide."""
    return seed_of(_method_text(plan), target)


def _method_text(plan: MergePlan) -> str:
    return json.dumps(plan.method.model_dump(mode="json"), sort_keys=True)


def changed(tasks: Mapping[str, Task], live: Mapping[str, Recipe]) -> list[Task]:
    """The tasks whose weight is not merged by that very recipe now."""
    return [task for target, task in tasks.items() if live.get(target) != task.recipe]
