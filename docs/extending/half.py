"""An arm of an evaluation: the planner's experts at half their weights.

A suite names it: `arms: [base, half, ours]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diffgraph.evals.arms.arm import Answer, arm
from diffgraph.evals.arms.drawing import answers, chosen_by_planner
from diffgraph.evals.evaluation import Evaluation
from diffgraph.evals.suites.items import Item


@arm("half", "ours' experts at half their weights")
def half(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    """One plan an item; its images, one a seed."""
    plans = []
    for item in items:
        experts = chosen_by_planner(evaluation, item, seeds)
        weaker = [e.model_copy(update={"weight": e.weight / 2}) for e in experts]
        plans.append(evaluation.plan(item, weaker, seeds))
    yield from answers(evaluation, items, plans)
