"""Arms that add the planner's experts up without weighing them: equal shares, and the exact sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...merging.plan.merge_plan import MergePlan, Method
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, arm
from .drawing import answers, best_of, chosen_by_planner, tries


@arm("uniform", "ours' experts at equal weights that sum to 1")
def uniform(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = []
    for item in items:
        chosen = chosen_by_planner(evaluation, item, seeds)
        even = [e.model_copy(update={"weight": 1.0 / len(chosen), "blocks": {}}) for e in chosen]
        plans.append(evaluation.plan(item, even, seeds))
    yield from answers(evaluation, items, plans)


def summed(evaluation: Evaluation, item: Item, seeds: Sequence[int], drawn: Sequence[int]) -> MergePlan:
    """The planner's choice of experts for ``seeds``, each at weight 1, summed exactly, to draw the seeds ``drawn``.

    A checkpoint among them has no factors to stack: its sum is `linear`'s.
    """
    whole = [e.model_copy(update={"weight": 1.0, "blocks": {}}) for e in chosen_by_planner(evaluation, item, seeds)]
    stacks = all(evaluation.experts[e.id].kind == "lora" for e in whole)
    return evaluation.plan(item, whole, drawn, Method(name="concat_sum" if stacks else "linear"))


@arm("concat_sum", "ours' experts, exact sum at weight 1")
def concat_sum(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [summed(evaluation, i, seeds, seeds) for i in items]
    yield from answers(evaluation, items, plans)


@arm("concat_sum_best_of_n", "the exact sum, best of three by the critic")
def concat_sum_best_of_n(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [summed(evaluation, i, seeds, tries(seeds)) for i in items]
    yield from best_of(evaluation, items, plans, seeds)
