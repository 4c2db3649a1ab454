"""Images from plans, by the pipeline that an engine merges into: the same plan and seed give the same pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...errors import PlanError
from ..engine.engine import Engine
from ..plan.merge_plan import MergePlan, Sampler
from ..plan.pinning import Locate
from ..plan.schedule import plain
from .call import call_arguments
from .scheduled import ScheduledDenoiser
from .schedulers import make_scheduler

_SHARED = ("base", "experts", "method", "sampler", "allow_partial", "schedule")
"""The fields of a plan that decide its merge and how it is sampled, whatever the prompt and the seeds."""

OnStep = Callable[[int, int], None]
"""Called after every sampling step with (steps done, steps in all)."""


def render(
    engine: Engine, plan: MergePlan, locate: Locate, on_step: OnStep | None = None, *, batch_size: int = 1
) -> list[Image.Image]:
    """Merge ``plan`` and sample one image for each of its seeds.

    The noise of every image comes from a CPU generator of its own seed, whatever the device. With ``batch_size`` 1 an
    image does not depend on the plan's other seeds, bit for bit; larger batches are faster, and equal up to the last
    bits of float arithmetic.

    Raises:
        PlanError, ExpertError: as `Engine.apply`; also for an unknown sampler, or a model that gives NaN.
    """
    return render_all(engine, [plan], locate, on_step, batch_size=batch_size)[0]


def render_seed(
    engine: Engine, plan: MergePlan, seed: int, locate: Locate, on_step: OnStep | None = None
) -> Image.Image:
    """One of a plan's images alone, the same bits as from `render` (with ``batch_size`` 1).

    Raises:
        PlanError, ExpertError: as `render`; also for a seed that is none of the plan's.
    """
    if seed not in plan.seeds:
        raise PlanError(f"seed {seed} is none of the plan's seeds")
    engine.apply(plain(plan), locate)
    steps = plan.sampler.steps
    step = None if on_step is None else _counted(on_step, 0, steps)
    with ScheduledDenoiser(engine, plan, locate) as stepper:
        image = _sample(engine, plan.sampler, [(plan.prompt, plan.negative_prompt, seed)], stepper, step)[0]
    if on_step is not None:
        on_step(steps, steps)
    return image


def render_all(
    engine: Engine,
    plans: Sequence[MergePlan],
    locate: Locate,
    on_step: OnStep | None = None,
    *,
    batch_size: int = 16,
) -> list[list[Image.Image]]:
    """Images of many plans: plans that merge and sample alike are merged once and sampled in common batches.

    Returns:
        For each plan, in the order given, one image for each seed.
    """
    groups: dict[str, list[tuple[int, int]]] = {}
    for index, plan in enumerate(plans):
        groups.setdefault(_alike(plan), []).extend((index, at) for at in range(len(plan.seeds)))
    batches = [jobs[i : i + batch_size] for jobs in groups.values() for i in range(0, len(jobs), batch_size)]
    total = sum(plans[jobs[0][0]].sampler.steps for jobs in batches)
    done = 0
    images: dict[tuple[int, int], Image.Image] = {}
    for jobs in batches:
        first = plans[jobs[0][0]]
        if engine.merged != plain(first).plan_id:
            engine.apply(plain(first), locate)
        step = None if on_step is None else _counted(on_step, done, total)
        prompts = [(plans[i].prompt, plans[i].negative_prompt, plans[i].seeds[at]) for i, at in jobs]
        with ScheduledDenoiser(engine, first, locate) as stepper:
            made = _sample(engine, first.sampler, prompts, stepper, step)
        images.update(zip(jobs, made, strict=True))
        done += first.sampler.steps
        if on_step is not None:
            on_step(done, total)
    return [[images[index, at] for at in range(len(plan.seeds))] for index, plan in enumerate(plans)]


def _alike(plan: MergePlan) -> str:
    """Equal for plans that may share a merge and a batch."""
    return json.dumps(plan.model_dump(mode="json", include={*_SHARED}), sort_keys=True)


def _counted(on_step: OnStep, before: int, total: int) -> Callable[[int], None]:
    return lambda step: on_step(min(before + step, total - 1), total)


def _sample(
    engine: Engine,
    sampler: Sampler,
    prompts: Sequence[tuple[str, str, int]],
    stepper: ScheduledDenoiser,
    on_step: Callable[[int], None] | None,
) -> list[Image.Image]:
    pipe = engine.pipe
    text = {"prompt": [prompt for prompt, _, _ in prompts], "negative_prompt": [text for _, text, _ in prompts]}
    arguments = call_arguments(pipe, sampler, text)
    generators = [torch.Generator("cpu").manual_seed(seed) for _, _, seed in prompts]

    def after(_pipe: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        stepper.next(step + 1)
        if on_step is not None:
            on_step(step + 1)
        return tensors

    own = pipe.scheduler
    pipe.scheduler = make_scheduler(own, sampler.name, generators)
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            out = np.asarray(pipe(generator=generators, callback_on_step_end=after, **arguments).images)
    finally:
        pipe.scheduler = own
    if not np.isfinite(out).all():
        raise PlanError("the merged model gives NaN instead of an image: lower the weights, or use float32")
    return [Image.fromarray(pixels) for pixels in (out * 255).round().clip(0, 255).astype("uint8")]


def cut_off(engine: Engine, prompt: str) -> str:
    """The end of a prompt that the base's text encoder would silently drop ("" if it all fits)."""
    tokenizer = engine.pipe.tokenizer
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    if len(ids) <= limit:
        return ""
    return str(tokenizer.decode(ids[limit - 1 : -1])).strip()
