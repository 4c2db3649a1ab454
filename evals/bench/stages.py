"""How long every stage of a request takes on this machine: ``diffgraph bench``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ...agents.runs.generate import plan as propose
from ...errors import UserError
from ...merging.plan.merge_plan import MergePlan
from ...merging.sampling.pipeline import render
from ...scoring.request import Wanted
from ...settings import Settings
from ...tools.context import Context

PROMPTS = ("octopus", "octopus, blueprint style", "octopus, blueprint style, starry night background")


def measure(settings: Settings, repeats: int = 5) -> list[dict[str, Any]]:
    """Time each stage, the one-off ones once and the others ``repeats`` times.

    Returns:
        ``{"stage", "median", "fastest", "slowest", "times"}`` a stage, in seconds, in order of a request.

    Raises:
        UserError: nothing of the prompts can be drawn here.
    """
    return [
        {
            "stage": name,
            "median": round(statistics.median(seconds), 4),
            "fastest": round(min(seconds), 4),
            "slowest": round(max(seconds), 4),
            "times": len(seconds),
        }
        for name, seconds in _stages(settings, repeats)
    ]


def _stages(settings: Settings, repeats: int) -> Iterator[tuple[str, list[float]]]:
    start = time.perf_counter()
    with Context.open(settings) as ctx:
        yield "open the graph", [time.perf_counter() - start]
        first = _times(lambda: propose(PROMPTS[-1], context=ctx), 1)
        yield "first plan (loads the text model)", first
        yield "plan", _times(lambda: propose(PROMPTS[-1], context=ctx), repeats)
        plans = _plans(ctx)
        yield "load the base", _times(lambda: ctx.engine, 1)
        for plan in plans:
            name = f"merge {len(plan.experts)}"
            yield f"{name}, read from disk", _times(partial(ctx.engine.apply, plan, ctx.locate), 1)
            yield f"{name}, experts in memory", _times(partial(_afresh, ctx, plan), repeats)
        last = plans[-1]
        yield (
            f"sample one image, {last.sampler.steps} steps",
            _times(lambda: render(ctx.engine, last, ctx.locate), repeats),
        )
        image = render(ctx.engine, last, ctx.locate)
        wanted = [Wanted(facet=e.facet, text=e.trigger) for e in last.experts]
        yield "load the critic", _times(lambda: ctx.critic, 1)
        yield "judge one image", _times(lambda: ctx.critic.score(image, wanted), repeats)


def _afresh(ctx: Context, plan: MergePlan) -> None:
    ctx.engine.reset()
    ctx.engine.apply(plan, ctx.locate)


def _plans(ctx: Context) -> list[MergePlan]:
    """One plan for each number of experts that the prompts come to."""
    found = [propose(prompt, context=ctx).plan for prompt in PROMPTS]
    plans = {len(plan.experts): plan for plan in found if plan is not None and plan.experts}
    if not plans:
        raise UserError(
            "The graph has no expert for the prompts that are timed. `diffgraph doctor` says what is missing."
        )
    return [plans[n] for n in sorted(plans)]


def _times(run: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds
