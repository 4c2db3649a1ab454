"""Families of arms that may draw a number of images: the best of so many, and the machine within so many.

What the loop is worth shows only at equal images. ``ours_no_loop_best_of:3`` and ``concat_sum_best_of:3`` draw three
whatever the prompt and keep the one that the critic scores highest; ``ours_within:3`` is the machine, which stops by
itself, and after three at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ...errors import UserError
from ...merging.plan.merge_plan import MergePlan
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, Arm, family
from .drawing import best_of, tries
from .ours import answered
from .plain_sums import summed

_Plan = Callable[[Evaluation, Item, Sequence[int], Sequence[int]], MergePlan]
"""(evaluation, item, seeds asked for, seeds to draw) -> the plan."""


def sizes() -> list[str]:
    """Numbers of images that are of interest: up to what the machine may draw by default."""
    return [str(n) for n in range(1, 7)]


@family("ours_no_loop_best_of", members=sizes)
def ours_no_loop_best_of(n: str) -> Arm:
    """Our plan without the loop, the best of ``n``. Raises UserError for no such number."""
    return Arm(
        f"ours_no_loop_best_of:{n}", f"ours without the loop, best of {n} by the critic", "ours", _best(n, _ours)
    )


@family("concat_sum_best_of", members=sizes)
def concat_sum_best_of(n: str) -> Arm:
    """The exact sum of ours' experts, the best of ``n``. Raises UserError for no such number."""
    return Arm(f"concat_sum_best_of:{n}", f"the exact sum, best of {n} by the critic", "control", _best(n, summed))


@family("ours_within", members=sizes)
def ours_within(n: str) -> Arm:
    """The machine with ``n`` images at most. Raises UserError for no such number."""
    most = _number(n)

    def run(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
        ctx = evaluation.ctx
        limited = replace(ctx, settings=ctx.settings.model_copy(update={"rounds": most - 1}))
        for item in items:
            for seed in seeds:
                yield answered(evaluation, limited, item, seed, f"eval-runs-within-{most}")

    return Arm(f"ours_within:{most}", f"ours, the whole machine, {most} images at most", "ours", run)


def _number(n: str) -> int:
    if n not in sizes():
        raise UserError(f"An arm draws {sizes()[0]} to {sizes()[-1]} images, not {n[:20]!r}.")
    return int(n)


def _best(n: str, plan: _Plan) -> Callable[[Evaluation, Sequence[Item], Sequence[int]], Iterator[Answer]]:
    most = _number(n)

    def run(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
        plans = [plan(evaluation, item, seeds, tries(seeds, most)) for item in items]
        yield from best_of(evaluation, items, plans, seeds, most)

    return run


def _ours(evaluation: Evaluation, item: Item, seeds: Sequence[int], drawn: Sequence[int]) -> MergePlan:
    plan = evaluation.proposed(item, seeds) or evaluation.plan(item, (), seeds)
    return plan.model_copy(update={"seeds": tuple(drawn)})
