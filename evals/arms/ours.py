"""The arm "ours" at work: a whole request, on the bench's context, so that one engine serves all."""

from __future__ import annotations

from PIL import Image

from ...agents.runs.generate import generate
from ..suites.suite import Item
from ..workbench import Bench
from .arms import Answer


def answer(bench: Bench, item: Item, seed: int) -> Answer:
    """Ask for the user's own words. Where no image comes of it, image is None and the plan the bare base's."""
    run_dir = bench.ctx.settings.root / "eval-runs" / f"{item.id.replace('/', '__')}-{seed}"
    result = generate(item.prompt, n=1, seed=seed, out=run_dir, compare=False, context=bench.ctx)
    made = max(1, len(result.rounds))
    if result.plan is None or not result.images:
        return Answer(item, seed, None, bench.plan(item, (), (seed,)), made)
    with Image.open(result.images[0]) as image:
        return Answer(item, seed, image.convert("RGB"), result.plan, made)
