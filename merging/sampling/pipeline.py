"""Images from plans, by the pipeline that an engine merges into: the same plan and seed give the same pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...errors import PlanError
from ..engine.engine import Engine
from ..plan.merge_plan import MergePlan, Sampler
from ..plan.pinning import Locate
from ..plan.schedule import plain
from .batch import Batch, Drawn
from .call import call_arguments, zeroed
from .encoding import is_encoded, text_arguments
from .other_vae import plan_vae, tiles
from .scheduled import ScheduledDenoiser
from .schedulers import make_scheduler

_SHARED = ("base", "experts", "method", "sampler", "allow_partial", "schedule", "vae")
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
    engine: Engine,
    plan: MergePlan,
    seed: int,
    locate: Locate,
    on_step: OnStep | None = None,
    *,
    batch: Batch | None = None,
    vae_tiling: bool = False,
) -> Image.Image:
    """One of a plan's images alone, the same bits as from `render` (with ``batch_size`` 1).

    Args:
        batch: the batch that an image was drawn in (`Drawn.batch`); it is drawn again as a whole, since who shares a
            batch moves the last bits.
        vae_tiling: whether the VAE decodes in tiles, which takes less memory and changes pixels a little.

    Raises:
        PlanError, ExpertError: as `render`; also for a seed that is none of the plan's.
    """
    if seed not in plan.seeds:
        raise PlanError(f"seed {seed} is none of the plan's seeds")
    alone = Batch(images=(_member(plan, seed),))
    engine.apply(plain(plan), locate)
    steps = plan.sampler.steps
    step = None if on_step is None else _counted(on_step, 0, steps)
    image = _sampled(engine, plan, batch or alone, locate, step, vae_tiling=vae_tiling)[(batch or alone).at]
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
    drawn = draw_all(engine, plans, locate, on_step, batch_size=batch_size)
    return [[one.image for one in images] for images in drawn]


def draw_all(
    engine: Engine,
    plans: Sequence[MergePlan],
    locate: Locate,
    on_step: OnStep | None = None,
    *,
    batch_size: int = 16,
    vae_tiling: bool = False,
) -> list[list[Drawn]]:
    """As `render_all`, each image with the batch that it was drawn in, by which `render_seed` repeats it."""
    todo = [(index, at) for index, plan in enumerate(plans) for at in range(len(plan.seeds))]
    drawn = dict(draw_each(engine, plans, todo, locate, on_step, batch_size=batch_size, vae_tiling=vae_tiling))
    return [[drawn[index, at] for at in range(len(plan.seeds))] for index, plan in enumerate(plans)]


def draw_each(
    engine: Engine,
    plans: Sequence[MergePlan],
    todo: Sequence[tuple[int, int]],
    locate: Locate,
    on_step: OnStep | None = None,
    *,
    batch_size: int = 16,
    vae_tiling: bool = False,
) -> Iterator[tuple[tuple[int, int], Drawn]]:
    """The images of ``todo``, (which plan, which of its seeds), handed out batch by batch as they are drawn: whoever
    keeps them at once loses none when the process ends.

    An image whose words are encoded outside the pipeline (`encoding.is_encoded`) has a batch of its own: the lengths
    of what is encoded differ.
    """
    batches = _batches(engine, plans, todo, batch_size)
    total = sum(plans[jobs[0][0]].sampler.steps for jobs in batches)
    done = 0
    for jobs in batches:
        first = plans[jobs[0][0]]
        if engine.merged != plain(first).plan_id:
            engine.apply(plain(first), locate)
        step = None if on_step is None else _counted(on_step, done, total)
        batch = Batch(images=tuple(_member(plans[i], plans[i].seeds[at]) for i, at in jobs))
        made = _sampled(engine, first, batch, locate, step, vae_tiling=vae_tiling)
        for at, (job, image) in enumerate(zip(jobs, made, strict=True)):
            yield job, Drawn(image, batch.model_copy(update={"at": at}))
        done += first.sampler.steps
        if on_step is not None:
            on_step(done, total)


def _batches(
    engine: Engine, plans: Sequence[MergePlan], todo: Sequence[tuple[int, int]], size: int
) -> list[list[tuple[int, int]]]:
    """Images of plans that merge and sample alike, at most ``size`` together; those that cannot share one alone."""
    groups: dict[str, list[tuple[int, int]]] = {}
    alike: dict[int, str] = {}
    for index, at in todo:
        if index not in alike:
            alike[index] = _alike(engine, plans[index])
        groups.setdefault(alike[index], []).append((index, at))
    batches: list[list[tuple[int, int]]] = []
    for jobs in groups.values():
        alone = [_alone(engine, plans[index]) for index, _ in jobs]
        common = [job for job, own in zip(jobs, alone, strict=True) if not own]
        batches += [common[i : i + size] for i in range(0, len(common), size)]
        batches += [[job] for job, own in zip(jobs, alone, strict=True) if own]
    return batches


def _member(plan: MergePlan, seed: int) -> tuple[str, str, int]:
    return plan.prompt, plan.negative_prompt, seed


def _alone(engine: Engine, plan: MergePlan) -> bool:
    return is_encoded(engine.pipe, (plan.prompt, plan.negative_prompt), plan.sampler.clip_skip)


def _sampled(
    engine: Engine,
    plan: MergePlan,
    batch: Batch,
    locate: Locate,
    on_step: Callable[[int], None] | None,
    *,
    vae_tiling: bool,
) -> list[Image.Image]:
    with plan_vae(engine, plan), tiles(engine.pipe, vae_tiling), ScheduledDenoiser(engine, plan, locate) as stepper:
        return _sample(engine, plan.sampler, batch.images, stepper, on_step)


def _alike(engine: Engine, plan: MergePlan) -> str:
    """Equal for plans that may share a merge and a batch: one without a negative prompt may mean another call."""
    shared = plan.model_dump(mode="json", include={*_SHARED})
    return json.dumps([shared, not plan.negative_prompt and zeroed(engine.pipe)], sort_keys=True)


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
    arguments = _arguments(pipe, sampler, [(prompt, negative) for prompt, negative, _ in prompts])
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


def _arguments(pipe: Any, sampler: Sampler, words: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The arguments of one call; where the words are handed over encoded, they are checked as words all the same."""
    with torch.inference_mode():
        text = text_arguments(pipe, words, sampler.clip_skip)
    if "prompt_embeds" not in text:
        return call_arguments(pipe, sampler, text)
    said = {"prompt": [prompt for prompt, _ in words], "negative_prompt": [negative for _, negative in words]}
    checked = call_arguments(pipe, sampler, said)
    return {name: value for name, value in checked.items() if name not in said} | text
