"""The arm that draws its experts by lot."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

from ...merging.plan.merge_plan import PlanExpert
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, arm
from .drawing import answers, chosen_by_planner


@arm("random_experts", "as many experts as ours, chosen at random")
def random_experts(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans, owners = [], []
    known = sorted(evaluation.experts)
    for item in items:
        count = max(1, len(chosen_by_planner(evaluation, item, seeds)))
        for seed in seeds:
            draw = random.Random(hashlib.sha256(f"{item.id}|{seed}".encode()).digest())
            picked = draw.sample(known, min(count, len(known)))
            plans.append(
                evaluation.plan(
                    item, _distinct([evaluation.pin(e, evaluation.best_weight(e)) for e in picked]), (seed,)
                )
            )
            owners.append(item)
    yield from answers(evaluation, owners, plans)


def _distinct(experts: Sequence[PlanExpert]) -> list[PlanExpert]:
    """Without experts whose file is another's: a merge refuses the same file twice."""
    return list({e.sha256: e for e in experts}.values())
