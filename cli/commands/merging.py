"""``render``, ``merge`` and ``replay``: carry out a plan at hand, to images, weights, or an image once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..console import FAILED, out, say, write_json
from ..options import Base, ExpertFolders, Json, PlanFile

if TYPE_CHECKING:
    from ...merging.export.export import ExportReport
    from ...merging.plan.merge_plan import MergePlan
    from ...tools.plan_inputs import PlanInputs

Form = Literal["lora", "full"]
Layout = Literal["diffusers", "kohya"]

POSITION = 30
app = typer.Typer()


@app.command()
def render(
    plan_file: PlanFile,
    out_: Annotated[
        Path | None,
        typer.Option("--out", help="folder for images and plan (new, empty, or earlier); default: a fresh run folder"),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", help="how many images; default: the plan's")] = None,
    seed: Annotated[int | None, typer.Option(help="the first image's seed; default: the plan's")] = None,
    base: Base = None,
    experts: ExpertFolders = None,
    json_: Json = False,
) -> None:
    """Draw a plan as it stands, edited or not: check it, merge, sample. No brain and no critic look at it.

    Examples:

      diffgraph plan "a red fox" --expert inkwash:0.7 --json | jq .plan > plan.json

      diffgraph render plan.json --seed 7 -n 4 --out fox/

      diffgraph render image.png --out again/

    The base is the one that the plan was made for; experts are found by content, in the graph or with --experts.
    """
    from ...agents.runs.render import render_plan
    from ..progress import Progress

    with Progress() as progress:
        done = render_plan(plan_file, out=out_, n=n, seed=seed, base=base, experts=experts or (), on_event=progress)
    if json_:
        write_json(done.to_json())
        return
    for note in done.notes:
        say(note)
    for path in done.images:
        out.line_of(f"image    {path}")
    out.line_of(f"plan     {done.run_dir / 'plan.json'}")


@app.command()
def merge(
    plan_file: PlanFile,
    out_: Annotated[Path, typer.Option("-o", "--out", help="a .safetensors file, or a folder", show_default=False)],
    as_: Annotated[
        Form | None,
        typer.Option("--as", help="one LoRA, or full weights; default: lora for a file, full for a folder"),
    ] = None,
    layout: Annotated[Layout, typer.Option(help="tensor names of a LoRA: diffusers, or kohya (A1111)")] = "diffusers",
    rank: Annotated[int | None, typer.Option(min=1, help="compress a LoRA to this rank; default: exact")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="of what is written; default: float32 for a LoRA, the base's for full weights"),
    ] = None,
    budget: Annotated[str, typer.Option("--stream-budget", help="peak memory of the process, e.g. 1GB")] = "4GB",
    base: Base = None,
    experts: ExpertFolders = None,
    force: Annotated[bool, typer.Option("--force", help="replace what is there")] = False,
    json_: Json = False,
) -> None:
    """Merge a plan and write it: one LoRA, full weights, or a diffusers folder, each with its card and recipe.

    Examples:

      diffgraph merge plan.json -o merged.safetensors --layout kohya --rank 32

      diffgraph merge plan.json -o merged/ --stream-budget 1GB

    The output appears whole or not at all.
    """
    from ...merging.engine.free_memory import parse_bytes
    from ...tools.plan_inputs import open_inputs, read_plan_file
    from .. import tables
    from ..progress import working

    made, limit = read_plan_file(plan_file), parse_bytes(budget)
    with working("Merging"), open_inputs(base, experts, made) as inputs:
        report = _write(inputs, made, out_, as_, limit, layout=layout, rank=rank, dtype=dtype, force=force)
    write_json(report.to_json()) if json_ else tables.merged(report)


def _write(
    inputs: PlanInputs,
    made: MergePlan,
    path: Path,
    as_: Form | None,
    limit: int,
    *,
    layout: Layout,
    rank: int | None,
    dtype: str | None,
    force: bool,
) -> ExportReport:
    """Merge and write, as the options of ``merge`` say."""
    import torch

    from ...errors import UserError
    from ...merging.engine.free_memory import left_of
    from ...merging.engine.stream import FileMerge
    from ...merging.export import export

    single = path.suffix == ".safetensors"
    form = as_ or ("lora" if single else "full")
    if form == "lora" and not single:
        raise UserError("A LoRA is one file: say -o NAME.safetensors.")
    if form == "full" and (rank is not None or layout != "diffusers"):
        raise UserError("--rank and --layout are for a LoRA: say --as lora.")
    export.refuse_existing(path, force)
    inputs.check_base(made)
    kind: torch.dtype | None = getattr(torch, dtype) if dtype else None
    merged = FileMerge(made, inputs.ctx.machinery.index, inputs.finder, left_of(limit))
    licences = inputs.known(made).licences
    if form == "lora":
        return export.export_lora(merged, path, licences, layout=layout, rank=rank, dtype=kind or torch.float32)
    write = export.export_denoiser if single else export.export_pipeline
    return write(merged, path, licences, dtype=kind)


@app.command()
def replay(
    image: Annotated[Path, typer.Argument(help="a PNG that diffgraph made", show_default=False)],
    out_: Annotated[Path | None, typer.Option("--out", help="keep the new image here")] = None,
    base: Base = None,
    experts: ExpertFolders = None,
    json_: Json = False,
) -> None:
    """Make an image again from the plan inside it, and say whether every pixel is the same.

    Example:  diffgraph replay run/images/0.png

    Ends with 0 if the pixels are equal, with 1 if they are not.
    """
    from ...merging.sampling.png_record import read_png, save_png
    from ...tools.plan_inputs import open_inputs
    from ..progress import Progress

    record = read_png(image)
    with Progress() as progress, open_inputs(base, experts, record.plan) as inputs:
        inputs.check_base(record.plan)
        for spec in record.plan.experts:
            inputs.finder(spec)  # whoever is missing is told before the model is loaded
        from ...merging.sampling.replay import replay as again

        done = again(
            image, inputs.ctx.engine, inputs.finder, lambda at, all_: progress.count(at, all_, "sampling steps")
        )
        if out_ is not None:
            save_png(done.image, out_, record.plan, record.seed, record.extra, texts=record.texts)
    if json_:
        found = {"equal": done.equal, "differing": done.differing, "largest": done.largest, "reasons": [*done.reasons]}
        write_json({"plan_id": record.plan.plan_id, "seed": record.seed, **found})
    else:
        out.line_of(done.sentence())
    raise typer.Exit(0 if done.equal else FAILED)
