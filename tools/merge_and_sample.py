"""Tool: merge a plan's experts into the base and sample its images, once for each plan id."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from ..errors import UserError
from ..files.atomic import write_bytes
from ..merging.engine.merge_report import MergeReport
from ..merging.plan.merge_plan import MergePlan
from ..merging.plan.pinning import Locate
from .check_plan import PlanArgs
from .context import Context, make_folder
from .png_names import png_names
from .tool import Result, tool


class Sampled(Result):
    """Images of a plan in order of its seeds; ``merge`` is the report of the merge that made them, if it was kept."""

    plan_id: str
    images: tuple[str, ...]
    merge: MergeReport | None
    seconds: float


@tool("merge_and_sample")
def merge_and_sample(ctx: Context, args: PlanArgs) -> Sampled:
    """Merge the plan's experts into the base and sample one image for each seed. A plan that was sampled before is
    not again.
    """
    plan = ctx.load_plan(args.plan_id or ctx.job.plan_id)
    start = time.perf_counter()
    known = image_paths(ctx, plan)
    if known is None:
        with ctx.machinery.lock:
            if ctx.engine.merged != plan.plan_id:
                merge(ctx, plan)
            known = sample(ctx, plan)
    return Sampled(
        plan_id=plan.plan_id,
        images=tuple(str(path) for path in known),
        merge=merge_report(ctx, plan.plan_id),
        seconds=round(time.perf_counter() - start, 3),
    )


def image_path(ctx: Context, plan_id: str, seed: int) -> Path:
    """Where the image of one seed of a plan is kept."""
    return ctx.images_dir(plan_id) / f"{seed}.png"


def image_paths(ctx: Context, plan: MergePlan) -> list[Path] | None:
    """The kept images of a plan in order of its seeds, each checked against the plan it carries; None unless all
    are there and can be made again to the bit.
    """
    return None if undrawn(ctx, plan) else [image_path(ctx, plan.plan_id, seed) for seed in plan.seeds]


def undrawn(ctx: Context, plan: MergePlan) -> list[int]:
    """Which of a plan's images (from 0, in order of its seeds) are not kept, or cannot be made again to the bit."""
    return [at for at, seed in enumerate(plan.seeds) if not _is_kept(plan, image_path(ctx, plan.plan_id, seed))]


def _is_kept(plan: MergePlan, path: Path) -> bool:
    from ..merging.sampling.batch import is_repeatable
    from ..merging.sampling.png_record import read_png

    if not path.is_file():
        return False
    try:
        record = read_png(path)
    except UserError:
        return False  # damaged or edited: it is made again
    return record.plan.plan_id == plan.plan_id and is_repeatable(record.extra)


def merge(ctx: Context, plan: MergePlan) -> MergeReport:
    """Make the engine's weights those of the plan, and keep the report. Raises PlanError or ExpertError as the
    engine does.
    """
    with ctx.machinery.lock:
        report = ctx.engine.apply(plan, ctx.locate, measure=True)
    path = make_folder(ctx.images_dir(plan.plan_id)) / "merge.json"
    if not path.is_file():
        write_bytes(path, json.dumps(report.model_dump(mode="json"), sort_keys=True).encode())
    return report


def merge_report(ctx: Context, plan_id: str) -> MergeReport | None:
    """The report kept by the merge that made a plan's images, if it is still there."""
    path = ctx.images_dir(plan_id) / "merge.json"
    try:
        return MergeReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def sample(ctx: Context, plan: MergePlan) -> list[Path]:
    """Sample the plan's images and keep them; each appears whole or not at all."""
    return sample_all(ctx, [plan], batch_size=1)[0]


def sample_all(
    ctx: Context, plans: Sequence[MergePlan], *, batch_size: int | None = None, locate: Locate | None = None
) -> list[list[Path]]:
    """Images of many plans, those that were made before left as they are; plans that merge alike share batches.

    Each image is kept as soon as its batch is drawn, so that a process that ends loses no finished one.
    ``batch_size`` is by default what the device has room for; ``locate`` finds an expert's file, by default the
    context's own way.
    """
    from ..merging.sampling.batch import TILED
    from ..merging.sampling.pipeline import draw_each
    from ..merging.sampling.png_record import save_png

    todo = [(index, at) for index, plan in enumerate(plans) for at in undrawn(ctx, plan)]
    if todo:
        held = ctx.machinery.drawing(plans[todo[0][0]].sampler)
        dtype = str(ctx.engine.dtype).removeprefix("torch.")
        machine: dict[str, JsonValue] = {"device": ctx.engine.device.type, "dtype": dtype}
        machine |= {TILED: True} if held.vae_tiling else {}
        names = functools.cache(lambda index: png_names(ctx, plans[index], locate or ctx.locate)._asdict())
        with ctx.machinery.lock:
            drawn = draw_each(
                ctx.engine,
                plans,
                todo,
                locate or ctx.locate,
                lambda done, total: ctx.say("step", f"sampling step {done} of {total}", done=done, total=total),
                batch_size=batch_size or held.batch,
                vae_tiling=held.vae_tiling,
            )
            for (index, at), (image, batch) in drawn:
                plan = plans[index]
                seed, record = plan.seeds[at], machine | batch.recorded()
                make_folder(ctx.images_dir(plan.plan_id))
                save_png(image, image_path(ctx, plan.plan_id, seed), plan, seed, record, **names(index))
    return [[image_path(ctx, plan.plan_id, seed) for seed in plan.seeds] for plan in plans]
