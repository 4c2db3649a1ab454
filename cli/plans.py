"""The commands that work on a plan at hand: ``plan`` (say, check, compare), ``merge``, ``replay``.

None of them needs an agent. Whatever loads a model library is imported inside the command that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import ExpertError, PlanError, UserError
from ..settings import Settings
from .console import FAILED, Progress, out, working, write_json

if TYPE_CHECKING:
    from ..merging.export.export import ExportReport
    from ..merging.plan.check import CheckReport
    from ..merging.plan.merge_plan import MergePlan
    from ..tools.context import Context
    from .expert_files import Finder

Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")]
Base = Annotated[str | None, typer.Option("--base", help="the base pipeline's folder; default: DIFFGRAPH_BASE")]
Experts = Annotated[
    list[Path] | None,
    typer.Option("--experts", help="a folder to look for the experts' files in, by sha256 (repeatable)"),
]
PlanFile = Annotated[Path, typer.Argument(help="a plan, or an image of ours that carries one", show_default=False)]


def settings_with(method: str | None) -> Settings:
    """The settings, with a merge method that exists. Raises UserError, with the closest, for one that does not."""
    from ..merging.methods.method import make
    from ..merging.plan.merge_plan import Method

    settings = Settings.load(method=method)
    try:
        make(Method(name=settings.method))
    except PlanError as error:
        raise UserError(str(error)) from error
    return settings


def plan(
    prompt: Annotated[str | None, typer.Argument(help="what to draw, in plain words", show_default=False)] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="how many images")] = 1,
    seed: Annotated[int, typer.Option(help="the first image's seed; the others follow it")] = 0,
    json_: Json = False,
    method: Annotated[str | None, typer.Option("--method", help="merge method, e.g. linear, ties, np_lora")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="check this plan against base and experts")] = None,
    diff: Annotated[tuple[Path, Path] | None, typer.Option("--diff", help="say what differs between two plans")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema of plan files")] = False,
    base: Base = None,
    experts: Experts = None,
) -> None:
    """Say what would be merged for a prompt, and draw nothing. Or check a plan, or compare two.

    Examples:

      diffgraph plan "octopus, blueprint style" --json

      diffgraph plan --check plan.json --experts ~/loras

      diffgraph plan --diff old.json new.json

    Ends with 1 if nothing of the prompt can be drawn, the plan cannot be carried out, or the two plans differ.
    """
    asked = [prompt is not None, check is not None, diff is not None, schema]
    if sum(asked) != 1:
        raise UserError("Say one thing: a prompt in quotes, --check PLAN, --diff ONE OTHER, or --schema.")
    if prompt is not None:
        _propose(prompt, n, seed, method, json_)
    elif check is not None:
        _check(check, base, experts or [], json_)
    elif diff is not None:
        _diff(*diff, json_)
    else:
        from ..merging.plan.merge_plan import json_schema

        write_json(json_schema())


def _propose(prompt: str, n: int, seed: int, method: str | None, json_: bool) -> None:
    from ..agents.runs.generate import plan as propose
    from . import tables

    with working("Reading the prompt against the graph"):
        found = propose(prompt, n=n, seed=seed, settings=settings_with(method))
    write_json(found) if json_ else out.print(tables.plan(found))
    raise typer.Exit(0 if found["plan"] else FAILED)


def _diff(one: Path, other: Path, json_: bool) -> None:
    from ..merging.plan.diff import differences

    before, after = read_plan_file(one), read_plan_file(other)
    changes = differences(before, after)
    if json_:
        ids = {"before": before.plan_id, "after": after.plan_id}
        write_json({**ids, "changes": [change.model_dump(mode="json") for change in changes]})
    else:
        for change in changes:
            _line(change.sentence())
        _line(f"{len(changes)} differences" if changes else f"the same plan, {before.plan_id}")
    raise typer.Exit(FAILED if changes else 0)


def _check(path: Path, base: str | None, experts: list[Path], json_: bool) -> None:
    from ..merging.engine.estimate import measure
    from ..merging.plan.check import check

    made = read_plan_file(path)
    with working("Reading headers"), _bench(base, experts) as bench:
        known = bench.known(made)
        report = check(
            made,
            bench.ctx.machinery.index,
            bench.finder,
            families=known.families,
            overlaps=known.overlaps,
            licences=known.licences,
            rates=measure(_device(bench.ctx.settings)),
            dtype=bench.ctx.settings.dtype,
        )
    if json_:
        write_json(report.model_dump(mode="json"))
    else:
        _print_check(report)
    raise typer.Exit(0 if report.ok else FAILED)


def _print_check(report: CheckReport) -> None:
    for problem in sorted(report.problems, key=lambda p: not p.fatal):
        _line(f"{'WRONG' if problem.fatal else 'note '} {problem.message}")
    for one in report.experts:
        rank = f", rank {one.rank}" if one.rank is not None else ""
        _line(f"      {one.id}: {one.kind}{rank}, {one.targets} weights, {one.coverage:.0%} of them in this base")
    where = ", ".join(f"{count} in {component}" for component, count in report.modules.items())
    _line(f"      changes {report.targets} weights ({where or 'none'}); {report.shared} by more than one expert")
    if report.estimate is not None:
        e = report.estimate
        _line(f"      about {e.peak_bytes / 1e9:.2f} GB and {e.seconds:.2g} s to merge on {e.device} in {e.dtype}")
    if report.licence is not None and not report.licence.unknown:
        _line(f"      {report.licence.sentence()}")
    _line(f"{'ok   ' if report.ok else 'NO   '} {report.plan_id}")


def merge(
    plan_file: PlanFile,
    out_: Annotated[Path, typer.Option("-o", "--out", help="a .safetensors file, or a folder", show_default=False)],
    as_: Annotated[
        Literal["lora", "full"] | None,
        typer.Option("--as", help="one LoRA, or full weights; default: lora for a file, full for a folder"),
    ] = None,
    layout: Annotated[
        Literal["diffusers", "kohya"], typer.Option(help="tensor names of a LoRA: diffusers, or kohya (A1111)")
    ] = "diffusers",
    rank: Annotated[int | None, typer.Option(min=1, help="compress a LoRA to this rank; default: exact")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="of what is written; default: float32 for a LoRA, the base's for full weights"),
    ] = None,
    budget: Annotated[str, typer.Option("--stream-budget", help="peak memory of the process, e.g. 1GB")] = "4GB",
    base: Base = None,
    experts: Experts = None,
    force: Annotated[bool, typer.Option("--force", help="replace what is there")] = False,
    json_: Json = False,
) -> None:
    """Merge a plan and write it: one LoRA, full weights, or a diffusers folder, each with its card and recipe.

    Examples:

      diffgraph merge plan.json -o merged.safetensors --layout kohya --rank 32

      diffgraph merge plan.json -o merged/ --stream-budget 1GB

    The output appears whole or not at all.
    """
    from ..merging.engine.free_memory import parse_bytes

    made, limit = read_plan_file(plan_file), parse_bytes(budget)
    with working("Merging"), _bench(base, experts or []) as bench:
        report = bench.write(made, out_, as_, limit, layout=layout, rank=rank, dtype=dtype, force=force)
    if json_:
        write_json(report.to_json())
        return
    rank_text = f", rank {report.rank}" if report.rank is not None else ""
    _line(f"{report.path}: {report.form}{rank_text}, {report.targets} weights merged, {report.size_bytes / 1e6:.1f} MB")
    if report.energy_lost:
        _line(f"{report.energy_lost:.2%} of the merge's energy is lost to the form")
    if report.left_out:
        _line(f"left out, as no LoRA can hold them: {', '.join(report.left_out[:5])} ({len(report.left_out)} in all)")
    _line(f"licence of the output: {report.licence}")


def replay(
    image: Annotated[Path, typer.Argument(help="a PNG that diffgraph made", show_default=False)],
    out_: Annotated[Path | None, typer.Option("--out", help="keep the new image here")] = None,
    base: Base = None,
    experts: Experts = None,
    json_: Json = False,
) -> None:
    """Make an image again from the plan inside it, and say whether every pixel is the same.

    Example:  diffgraph replay run/images/0.png

    Ends with 0 if the pixels are equal, with 1 if they are not.
    """
    from ..merging.sampling.png_record import read_png, save_png

    record = read_png(image)
    with Progress() as progress, _bench(base, experts or []) as bench:
        bench.check_base(record.plan)
        for spec in record.plan.experts:
            bench.finder(spec)  # whoever is missing is told before the model is loaded
        from ..merging.sampling.replay import replay as again

        done = again(image, bench.ctx.engine, bench.finder, lambda at, all_: progress.count(at, all_, "sampling steps"))
    if out_ is not None:
        save_png(done.image, out_, record.plan, record.seed, record.extra)
    if json_:
        found = {"equal": done.equal, "differing": done.differing, "largest": done.largest, "reasons": [*done.reasons]}
        write_json({"plan_id": record.plan.plan_id, "seed": record.seed, **found})
    else:
        _line(done.sentence())
    raise typer.Exit(0 if done.equal else FAILED)


COMMANDS = (plan, merge, replay)


def read_plan_file(path: Path) -> MergePlan:
    """A plan from its own file, or from a PNG that carries it."""
    if path.suffix.lower() == ".png":
        from ..merging.sampling.png_record import read_plan

        return read_plan(path)
    from ..merging.plan.merge_plan import MergePlan

    return MergePlan.load(path)


def _line(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _device(settings: Settings) -> str:
    """The device that would merge, without loading torch on a machine that has only a CPU."""
    if settings.device != "auto":
        return settings.device
    return "auto" if Path("/proc/driver/nvidia/version").exists() or Path("/System/Library").exists() else "cpu"


@dataclass(frozen=True)
class _Known:
    """What the graph knows of a plan's experts."""

    families: dict[str, str]
    licences: dict[str, str]
    overlaps: dict[tuple[str, str], float]


@dataclass(frozen=True)
class _Bench:
    """The graph, the base and the finder of experts, for one command."""

    ctx: Context
    finder: Finder

    def known(self, made: MergePlan) -> _Known:
        by_sha = {expert.sha256: expert for expert in self.ctx.store.experts()}
        found = {spec.id: by_sha[spec.sha256] for spec in made.experts if spec.sha256 in by_sha}
        names = {expert.id: plan_id for plan_id, expert in found.items()}
        overlaps = {
            (names[r.a], names[r.b]): r.value
            for r in (self.ctx.store.relations() if len(found) > 1 else [])
            if r.kind in ("overlap", "duplicate") and r.a in names and r.b in names
        }
        licences = {plan_id: expert.licence for plan_id, expert in found.items()}
        families = {plan_id: expert.base_family for plan_id, expert in found.items()}
        return _Known(families, {"": self._base_licence(), **licences}, overlaps)

    def _base_licence(self) -> str:
        from ..graph.experts.card import MAX_CARD_BYTES, parse_card

        card = self.ctx.machinery.base_dir / "README.md"
        if not card.is_file() or card.stat().st_size > MAX_CARD_BYTES:
            return "unknown"
        try:
            return parse_card(card.read_text(encoding="utf-8", errors="replace")).licence
        except ExpertError:
            return "unknown"  # a card that cannot be read says nothing

    def check_base(self, made: MergePlan) -> None:
        """Raise UserError unless this is the plan's base."""
        from ..merging.plan.pinning import pin_base

        try:
            pin_base(made, self.ctx.machinery.index)
        except PlanError as error:
            raise UserError(f"{error}. Say --base FOLDER with the base that it was made from.") from error

    def write(
        self,
        made: MergePlan,
        path: Path,
        as_: Literal["lora", "full"] | None,
        limit: int,
        *,
        layout: Literal["diffusers", "kohya"],
        rank: int | None,
        dtype: str | None,
        force: bool,
    ) -> ExportReport:
        """Merge and write, as the options of ``merge`` say."""
        import torch

        from ..merging.engine.free_memory import left_of
        from ..merging.engine.stream import FileMerge
        from ..merging.export import export

        single = path.suffix == ".safetensors"
        form = as_ or ("lora" if single else "full")
        if form == "lora" and not single:
            raise UserError("A LoRA is one file: say -o NAME.safetensors.")
        if form == "full" and (rank is not None or layout != "diffusers"):
            raise UserError("--rank and --layout are for a LoRA: say --as lora.")
        export.refuse_existing(path, force)
        self.check_base(made)
        kind: torch.dtype | None = getattr(torch, dtype) if dtype else None
        merge = FileMerge(made, self.ctx.machinery.index, self.finder, left_of(limit))
        licences = self.known(made).licences
        if form == "lora":
            kind = kind or torch.float32
            return export.export_lora(merge, path, licences, layout=layout, rank=rank, dtype=kind)
        write = export.export_denoiser if single else export.export_pipeline
        return write(merge, path, licences, dtype=kind)


@contextmanager
def _bench(base: str | None, experts: list[Path]) -> Iterator[_Bench]:
    from ..tools.context import Context
    from .expert_files import Finder

    with Context.open(Settings.load(base=base)) as ctx:
        yield _Bench(ctx, Finder(ctx, experts))
