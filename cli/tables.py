"""What results look like: tables and lines for a terminal, plain documents for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from .console import out, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..agents.runs.generate import RunResult
    from ..graph.calibration.record import Calibration
    from ..graph.experts.expert import Expert
    from ..graph.relations.relation import Relation


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


def experts(found: Sequence[Expert], measured: Mapping[str, Calibration]) -> RenderableType:
    """One line an expert."""
    rows = table("expert", "kind", "family", "skills", "verdict", "best", "licence")
    for expert in found:
        seen = measured.get(expert.id)
        rows.add_row(
            escape(expert.id),
            expert.kind + (f" r{expert.rank}" if expert.rank else ""),
            escape(expert.base_family),
            escape(some([s.name for s in expert.skills])),
            seen.verdict if seen else "not calibrated",
            f"{seen.best_weight:.2f}" if seen else "",
            escape(expert.licence),
        )
    return rows


def experts_json(found: Sequence[Expert], measured: Mapping[str, Calibration]) -> dict[str, Any]:
    """The document of ``experts --json``."""
    fields = {"id", "title", "kind", "rank", "base_family", "licence", "sha256", "skills"}
    listed = []
    for expert in found:
        seen = measured.get(expert.id)
        data = expert.model_dump(mode="json", include=fields)
        listed.append({**data, "verdict": seen and seen.verdict, "best_weight": seen and seen.best_weight})
    return {"experts": listed}


def expert(
    found: Expert, calibrations: Sequence[Calibration], relations: Sequence[Relation], near: float = 0.05
) -> RenderableType:
    """Everything about one expert; overlaps below ``near`` are left out."""
    rows = _pairs()
    rows.add_row("expert", f"{escape(found.id)}  ({escape(found.title)})")
    size = f"{found.size_bytes / 2**20:.1f} MiB"
    rows.add_row("file", f"{escape(str(found.ref))}, {size}, sha256 {found.sha256[:12]}…")
    rank = f" of rank {found.rank}" if found.rank else ""
    rows.add_row("kind", f"{found.kind}{rank}, for base family {escape(found.base_family)}")
    rows.add_row("licence", escape(found.licence))
    for facet in dict.fromkeys(s.facet for s in found.skills):
        rows.add_row(facet, escape(", ".join(s.trigger for s in found.skills if s.facet == facet)))
    if calibrations:
        seen = calibrations[-1]
        figures = f"best weight {seen.best_weight:.2f}, consistency {seen.consistency:.2f}"
        rows.add_row("calibrated", f"{seen.verdict}; {figures}")
        gains = sorted(seen.gain.items(), key=lambda pair: (-pair[1], pair[0]))
        if seen.unasked:
            left = ", ".join(f"{name} {share:.0%}" for name, share in sorted(seen.unasked.items()))
            rows.add_row("without its trigger", escape(left))
        if seen.coarse != 1.0:
            rows.add_row("beside a subject", f"best with {seen.coarse:.0%} of its weight in the coarsest blocks")
        rows.add_row("gain", escape(", ".join(f"{name} {gain:+.2f}" for name, gain in gains)))
    else:
        rows.add_row("calibrated", f"not yet: diffgraph calibrate {escape(found.id)}")
    for relation in relations:
        if relation.kind != "overlap" or abs(relation.value) >= near:
            other = escape(relation.other(found.id))
            rows.add_row(relation.kind, f"{other}  {relation.value:.2f}  {escape(relation.note)}")
    return rows


def expert_json(found: Expert, calibrations: Sequence[Calibration], relations: Sequence[Relation]) -> dict[str, Any]:
    """The document of ``expert --json``."""
    return {
        "expert": found.model_dump(mode="json"),
        "calibrations": [c.model_dump(mode="json") for c in calibrations],
        "relations": [r.model_dump(mode="json") for r in relations],
    }


def plan(found: Mapping[str, Any]) -> RenderableType:
    """What would be merged."""
    rows = _pairs()
    rows.add_row("prompt", escape(found["prompt"]))
    for facet in found["facets"]:
        rows.add_row(facet["facet"], f"{escape(facet['trigger'])}  by {escape(str(facet['by']))}")
    for chosen in found["experts"]:
        rows.add_row("expert", f"{escape(chosen['id'])} × {chosen['weight']:.2f}")
    for text in found["uncovered"]:
        rows.add_row("uncovered", f"nothing here draws {escape(repr(text))}")
    for refused in found["rejected"]:
        rows.add_row("left out", f"{escape(refused['id'])}: {escape(refused['why'])}")
    rows.add_row("plan", found["plan_id"] or "none: nothing of this can be drawn")
    return rows


def run(result: RunResult) -> None:
    """How a request ended: notes on stderr, the rest on stdout."""
    for note in result.notes:
        say(note)
    out.print(f"{result.status}: {result.message}", markup=False, soft_wrap=True)
    if result.plan and result.plan.experts:
        used = ", ".join(f"{e.id} × {e.weight:.2f}" for e in result.plan.experts)
        out.print(f"experts  {used}", markup=False, soft_wrap=True)
    for path in result.images:
        out.print(f"image    {path}", markup=False, soft_wrap=True)
    out.print(f"page     {result.page}", markup=False, soft_wrap=True)


def settings(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Variable, value, meaning."""
    made = table("setting", "value", "meaning")
    for row in rows:
        made.add_row(*map(escape, row))
    return made
