"""The arm that leaves something out: the planner's own plan, one of its experts too faint to be seen."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

from ...merging.plan.merge_plan import MergePlan
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, arm
from .drawing import answers

FAINT = 0.25
"""What is left of the expert's weight: of what it knows the image shows a hint, or nothing."""


@arm("one_faint", "ours without the loop, one of its experts at a quarter of its weight")
def one_faint(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = []
    for item in items:
        plan = evaluation.proposed(item, seeds) or evaluation.plan(item, (), seeds)
        plans.append(_fainter(plan, random.Random(hashlib.sha256(f"{item.id}|{seeds[0]}".encode()).digest())))
    yield from answers(evaluation, items, plans)


def _fainter(plan: MergePlan, draw: random.Random) -> MergePlan:
    """The plan, the weight of an expert drawn by lot lowered; as it is where it has none."""
    faint = draw.randrange(len(plan.experts)) if plan.experts else -1
    experts = tuple(
        e.model_copy(update={"weight": round(e.weight * FAINT, 4)}) if i == faint else e
        for i, e in enumerate(plan.experts)
    )
    return plan.model_copy(update={"experts": experts})
