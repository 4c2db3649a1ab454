"""Arms without any expert: the base alone, and the best of three of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, arm
from .drawing import answers, best_of, tries


@arm("base", "base alone")
def base(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    yield from answers(evaluation, items, [evaluation.plan(i, (), seeds) for i in items])


@arm("base_best_of_n", "base, best of three by the critic")
def base_best_of_n(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [evaluation.plan(i, (), tries(seeds)) for i in items]
    yield from best_of(evaluation, items, plans, seeds)
