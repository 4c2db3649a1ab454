"""What results look like: tables and lines for a terminal, plain documents for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from .console import out, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..agents.runs.result import PlannedRequest, RunResult
    from ..bases.profile import BaseProfile
    from ..bases.registry import ListedBase
    from ..graph.calibration.record import Calibration
    from ..graph.experts.expert import Expert
    from ..graph.experts.own_words import OwnWords
    from ..graph.relations.relation import Relation
    from ..merging.export.export import ExportReport
    from ..merging.plan.check import CheckReport
    from ..merging.plan.merge_plan import MergePlan


def table(*columns: str) -> Table:
    """A borderless table whose cells fold."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _pairs() -> Table:
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    return made


def some(names: Sequence[str], most: int = 4) -> str:
    """The first few, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def timings(found: Mapping[str, Any]) -> None:
    """The tables of ``bench``: stages of a request, merges by engine."""
    if "stages" in found:
        rows = table("stage", "median s", "fastest s", "slowest s", "times")
        for stage in found["stages"]:
            seconds = (f"{stage[key]:.3f}" for key in ("median", "fastest", "slowest"))
            rows.add_row(stage["stage"], *seconds, str(stage["times"]))
        out.print(rows)
    if "merge" in found:
        from ..evals.bench.merge_bench import table as merges

        _lines(*merges(found["merge"]))
    if "span" in found:
        from ..evals.bench.span_bench import table as spans

        _lines(*spans(found["span"]))


def _lines(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    rows = table(*columns)
    for line in lines:
        rows.add_row(*line)
    out.print(rows)


def base(found: BaseProfile) -> RenderableType:
    """What a base is, one fact a line."""
    rows = _pairs()
    rows.add_row("name", found.name)
    rows.add_row("where", found.origin or found.where)
    if found.origin:
        rows.add_row("folder", found.where)
    rows.add_row("architecture", found.architecture or "unknown")
    rows.add_row("ecosystem", found.ecosystem or "-")
    rows.add_row("family", found.family or "its own")
    rows.add_row("vocabulary", found.vocabulary)
    size = f"{found.sizes[0].width} x {found.sizes[0].height}" if found.sizes else "the pipeline's own"
    rows.add_row("draws", f"{size}, {found.steps} steps, guidance {found.guidance:g}, sampler {found.sampler}")
    rows.add_row("negative prompt", "yes" if found.negative_prompt else "no")
    rows.add_row("prompt limit", f"{found.prompt_limit} tokens" if found.prompt_limit else "unknown")
    rows.add_row("key", found.key[:16] or "not hashed yet")
    return rows


def bases(found: Sequence[ListedBase]) -> RenderableType:
    """One line a base; a star stands before the one in force."""
    rows = table("", "base", "kind", "architecture", "where", "")
    for one in found:
        rows.add_row("*" if one.in_force else "", one.name, one.kind, one.architecture, one.where, one.trouble)
    return rows


def experts(found: Sequence[Expert], measured: Mapping[str, Calibration]) -> RenderableType:
    """One line an expert."""
    rows = table("expert", "kind", "family", "skills", "verdict", "best", "licence", "state")
    for expert in found:
        seen = measured.get(expert.id)
        rows.add_row(
            expert.id,
            expert.kind + (f" r{expert.rank}" if expert.rank else ""),
            expert.base_family,
            some([s.name for s in expert.skills]),
            seen.verdict if seen else "not calibrated",
            f"{seen.best_weight:.2f}" if seen else "",
            expert.licence,
            state(expert),
        )
    return rows


def state(expert: Expert) -> str:
    """Why an expert is not chosen, or what is to be known of it; empty if nothing is."""
    said = (("off", expert.off), ("missing", expert.missing), ("nsfw", expert.nsfw), ("look", bool(expert.warnings)))
    return ", ".join(name for name, holds in said if holds)


def experts_json(found: Sequence[Expert], measured: Mapping[str, Calibration]) -> dict[str, Any]:
    """The document of ``experts --json``."""
    fields = {"id", "title", "kind", "rank", "base_family", "licence", "sha256", "skills"}
    fields |= {"triggers", "weight", "negative", "off", "missing", "nsfw", "ecosystem", "base_model", "also_at"}
    listed = []
    for expert in found:
        seen = measured.get(expert.id)
        data = expert.model_dump(mode="json", include=fields, context={"whole": True})
        listed.append({**data, "verdict": seen and seen.verdict, "best_weight": seen and seen.best_weight})
    return {"experts": listed}


def expert(
    found: Expert,
    calibrations: Sequence[Calibration],
    relations: Sequence[Relation],
    own: OwnWords | None = None,
    near: float = 0.05,
) -> RenderableType:
    """Everything about one expert; overlaps below ``near`` are left out."""
    rows = _pairs()
    rows.add_row("expert", f"{found.id}  ({found.title})")
    size = f"{found.size_bytes / 2**20:.1f} MiB"
    rows.add_row("file", f"{found.ref}, {size}, sha256 {found.sha256[:12]}…")
    for place in found.also_at:
        rows.add_row("also at", place)
    rank = f" of rank {found.rank}" if found.rank else ""
    rows.add_row("kind", f"{found.kind}{rank}, for base family {found.base_family}")
    rows.add_row("licence", found.licence)
    if said := state(found):
        rows.add_row("state", said)
    for warning in found.warnings:
        rows.add_row("look", warning)
    for facet in dict.fromkeys(s.facet for s in found.skills):
        rows.add_row(facet, ", ".join(s.trigger or s.name for s in found.skills if s.facet == facet))
    _said(rows, found)
    if own is not None and not own.empty:
        rows.add_row("you say", ", ".join(own.model_dump(exclude_none=True)))
    if calibrations:
        _measured(rows, calibrations[-1])
    else:
        rows.add_row("calibrated", f"not yet: diffgraph calibrate {found.id}")
    for relation in relations:
        if relation.kind != "overlap" or abs(relation.value) >= near:
            other = relation.other(found.id)
            rows.add_row(relation.kind, f"{other}  {relation.value:.2f}  {relation.note}")
    return rows


def _said(rows: Table, found: Expert) -> None:
    """What its author and the files beside it say."""
    for group in found.triggers:
        rows.add_row("called by", ", ".join(group))
    if found.weight is not None:
        span = (found.weight_min, found.weight_max)
        between = f", {span[0]:.2f} to {span[1]:.2f}" if span[0] is not None and span[1] is not None else ""
        clip = f", text encoder {found.clip_weight:.2f}" if found.clip_weight is not None else ""
        rows.add_row("weight", f"{found.weight:.2f}{between}{clip}")
    told = (
        ("negative", found.negative),
        ("made for", " ".join(part for part in (found.base_model, found.ecosystem and f"({found.ecosystem})") if part)),
        ("published", found.origin),
        ("tags", ", ".join(found.tags[:12])),
        ("trained on", ", ".join(tag for tag, _ in found.tag_counts[:12])),
        ("about", found.description[:400]),
    )
    for name, text in told:
        if text:
            rows.add_row(name, text)


def _measured(rows: Table, seen: Calibration) -> None:
    figures = f"best weight {seen.best_weight:.2f}"
    if seen.consistency is not None:
        figures += f", consistency {seen.consistency:.2f}"
    rows.add_row("calibrated", f"{seen.verdict}; {figures}")
    gains = sorted(seen.gain.items(), key=lambda pair: (-pair[1], pair[0]))
    if seen.unasked:
        left = ", ".join(f"{name} {share:.0%}" for name, share in sorted(seen.unasked.items()))
        rows.add_row("without its trigger", left)
    if seen.coarse != 1.0:
        rows.add_row("beside a subject", f"best with {seen.coarse:.0%} of its weight in the coarsest blocks")
    rows.add_row("gain", ", ".join(f"{name} {gain:+.2f}" for name, gain in gains))


def expert_json(
    found: Expert, calibrations: Sequence[Calibration], relations: Sequence[Relation], own: OwnWords | None = None
) -> dict[str, Any]:
    """The document of ``expert --json``."""
    return {
        "expert": found.model_dump(mode="json", context={"whole": True}),
        "own_words": own.model_dump(mode="json", exclude_none=True) if own is not None else {},
        "calibrations": [c.model_dump(mode="json") for c in calibrations],
        "relations": [r.model_dump(mode="json") for r in relations],
    }


def plan(found: PlannedRequest) -> RenderableType:
    """What would be merged."""
    from ..graph.reading.said_orders import in_words

    rows = _pairs()
    rows.add_row("prompt", found.prompt)
    for facet in found.facets:
        rows.add_row(facet.facet, f"{facet.trigger}  by {facet.by}")
    for chosen in found.experts:
        rows.add_row("expert", f"{chosen.id} × {chosen.weight:.2f}")
        if chosen.why or chosen.ordered:
            rows.add_row("", f"because {'; '.join(chosen.why) or 'it was ordered'}")
    drawn = {facet.text for facet in found.facets}
    if left := [text for text in found.left_to_base if text not in drawn]:
        rows.add_row("by the base", ", ".join(left))
    for text in found.uncovered:
        rows.add_row("uncovered", f"nothing here draws {text!r}")
    for text in found.excluded:
        rows.add_row("excluded", text)
    for what, value in in_words(found.orders):
        rows.add_row("ordered", f"{what} {value}")
    for order in found.unmet:
        rows.add_row("not obeyed", f"{order.text}: {order.why}")
    told = {order.text for order in found.unmet}
    for part in found.aside:
        if part.why and part.text.strip() not in told:
            rows.add_row("set aside", f"{part.text.strip()}: {part.why}")
    for refused in found.rejected:
        rows.add_row("left out", f"{refused.id}: {refused.why}")
    for note in found.notes:
        rows.add_row("note", note)
    if found.plan is not None:
        _drawn(rows, found.plan)
    rows.add_row("plan", found.plan_id or "none: nothing of this can be drawn")
    return rows


def _drawn(rows: Table, made: MergePlan) -> None:
    """How a plan is sampled."""
    sampler = made.sampler
    own = "the base's own"
    size = f"{sampler.width or 'any'} x {sampler.height or 'any'}" if sampler.width or sampler.height else own
    rows.add_row("draws", f"{size}, {sampler.steps} steps, guidance {sampler.guidance:g}, sampler {sampler.name}")
    if made.negative_prompt:
        rows.add_row("negative", made.negative_prompt)
    rows.add_row("seeds", some([str(seed) for seed in made.seeds], 8))


def check(report: CheckReport) -> None:
    """Whether a plan can be carried out, and what it would do."""
    for problem in sorted(report.problems, key=lambda p: not p.fatal):
        out.line_of(f"{'WRONG' if problem.fatal else 'note '} {problem.message}")
    for one in report.experts:
        rank = f", rank {one.rank}" if one.rank is not None else ""
        out.line_of(f"      {one.id}: {one.kind}{rank}, {one.targets} weights, {one.coverage:.0%} of them in this base")
    where = ", ".join(f"{count} in {component}" for component, count in report.modules.items())
    out.line_of(f"      changes {report.targets} weights ({where or 'none'}); {report.shared} by more than one expert")
    if report.estimate is not None:
        e = report.estimate
        out.line_of(
            f"      about {e.peak_bytes / 1e9:.2f} GB and {e.seconds:.2g} s to merge on {e.device} in {e.dtype}"
        )
    if report.memory is not None:
        out.line_of(f"      to draw: {report.memory.sentence()}")
    if report.licence is not None and not report.licence.unknown:
        out.line_of(f"      {report.licence.sentence()}")
    out.line_of(f"{'ok   ' if report.ok else 'NO   '} {report.plan_id}")


def merged(report: ExportReport) -> None:
    """What a merge wrote."""
    rank = f", rank {report.rank}" if report.rank is not None else ""
    size = f"{report.size_bytes / 1e6:.1f} MB"
    out.line_of(f"{report.path}: {report.form}{rank}, {report.targets} weights merged, {size}")
    if report.energy_lost:
        out.line_of(f"{report.energy_lost:.2%} of the merge's energy is lost to the form")
    if report.left_out:
        some_of_them = ", ".join(report.left_out[:5])
        out.line_of(f"left out, as no LoRA can hold them: {some_of_them} ({len(report.left_out)} in all)")
    out.line_of(f"licence of the output: {report.licence}")


def run(result: RunResult) -> None:
    """How a request ended: notes on stderr, the rest on stdout."""
    from ..agents.runs.verdict_table import by_whom, rows

    for note in result.notes:
        say(note)
    for order in result.unmet:
        say(f"not obeyed: {order.text}: {order.why}")
    out.line_of(f"{result.status}: {result.message}")
    if result.plan and result.plan.experts:
        used = ", ".join(f"{e.id} × {e.weight:.2f}" for e in result.plan.experts)
        out.line_of(f"experts  {used}")
    for number, path in enumerate(result.images):
        out.line_of(f"image    {path}")
        if (told := rows(result, number, indent=9)) is not None:
            out.print(told)
    if result.images:
        out.line_of(f"judged   by {by_whom(result)}")
    out.line_of(f"page     {result.page}")


def settings(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Variable, value, meaning."""
    made = table("setting", "value", "meaning")
    for row in rows:
        made.add_row(*row)
    return made
