"""Ours: the planner alone, and the whole machine as a user meets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image

from ...agents.runs.generate import generate
from ...tools.context import Context
from ..evaluation import Evaluation
from ..suites.items import Item
from .arm import Answer, arm
from .drawing import answers


@arm("ours_no_loop", "ours without the critic's loop", kind="ours")
def ours_no_loop(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    plans = [evaluation.proposed(i, seeds) or evaluation.plan(i, (), seeds) for i in items]
    yield from answers(evaluation, items, plans)


@arm("ours", "ours: the whole machine", kind="ours")
def ours(evaluation: Evaluation, items: Sequence[Item], seeds: Sequence[int]) -> Iterator[Answer]:
    for item in items:
        for seed in seeds:
            yield answered(evaluation, evaluation.ctx, item, seed, "eval-runs")


def answered(evaluation: Evaluation, ctx: Context, item: Item, seed: int, runs: str) -> Answer:
    """Ask for the user's own words. Where no image comes of it, image is None and the plan the bare base's.

    ``ctx`` holds the settings that are in force; ``runs`` is the folder of the runs in its home.
    """
    run_dir = ctx.settings.root / runs / f"{item.id.replace('/', '__')}-{seed}"
    result = generate(item.prompt, n=1, first_seed=seed, out=run_dir, compare=False, context=ctx)
    made = max(1, len(result.rounds))
    if result.plan is None or not result.images:
        return Answer(item, seed, None, evaluation.plan(item, (), (seed,)), made)
    with Image.open(result.images[0]) as image:
        return Answer(item, seed, image.convert("RGB"), result.plan, made)
