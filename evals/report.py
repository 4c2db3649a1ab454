"""Tables and pages from a log: joint accuracy with intervals, facets, paired tests, image grids (Markdown and HTML)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..files.atomic import write_bytes
from . import by_style
from .arms import arm as arm_table
from .log import Row
from .pages import page
from .stats import bootstrap, by_item, harmonic_mean, holm, paired_permutation
from .suites.items import FACETS
from .suites.suite import Suite, SuiteResult
from .summary import ALL, Cell, Summary, Test, Told

PLAIN = "method:linear"
"""The plain sum, which merge methods are compared with."""
GRID_ROWS = 10
"""Prompts shown as images in each group."""


def summarise(rows: Sequence[Row], arms: Sequence[str]) -> Summary:
    """Everything the tables show, but for the styles."""
    told = _titles(arms)
    groups = list(dict.fromkeys(r.group for r in rows))
    if len(groups) > 1:
        groups.append(ALL)
    reference = next((a for a in ("ours", "ours_no_loop", "oracle_choice", PLAIN) if a in arms), None)
    table: dict[str, dict[str, Cell]] = {}
    tests: dict[str, dict[str, Test]] = {}
    for group in groups:
        of = {a: [r for r in rows if r.arm == a and group in (r.group, ALL)] for a in arms}
        of = {a: found for a, found in of.items() if found}
        table[group] = {a: _cell(found) for a, found in of.items()}
        if reference in of:
            tests[group] = _tests(of, reference, told)
    merges = {a: [r for r in rows if r.arm == a] for a in arms if told[a].kind == "method"}
    merges = {a: found for a, found in merges.items() if found}
    methods = _tests(merges, PLAIN, told) if PLAIN in merges else {}
    return Summary(groups=table, reference=reference, tests=tests, methods=methods, arms=told)


def _titles(arms: Sequence[str]) -> dict[str, Told]:
    known = {a: arm_table.get(a) for a in arms if a.partition(":")[0] in arm_table.ARMS.names()}
    return {a: Told(title=known[a].title, kind=known[a].kind) if a in known else Told(title=a) for a in arms}


def _cell(rows: Sequence[Row]) -> Cell:
    means = {f: _mean([r.hits[f] for r in rows if f in r.hits]) for f in FACETS}
    facets = {f: v for f, v in means.items() if v is not None}
    return Cell(
        joint=bootstrap(list(by_item([(r.item, float(r.joint)) for r in rows]).values())),
        facets=facets,
        harmonic=round(harmonic_mean(facets.values()), 4) if facets else None,
        critic=_mean([r.critic for r in rows if r.critic is not None]),
        similarity=_mean([r.similarity for r in rows if r.similarity is not None]),
        metrics=_means([r.metrics for r in rows if r.metrics is not None]),
        made=_mean([r.made for r in rows if r.made is not None]),
        errors=sum(r.error is not None for r in rows),
        images=len(rows),
    )


def _mean(values: Sequence[float | bool]) -> float | None:
    return round(float(np.mean([float(v) for v in values])), 4) if values else None


def _means(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every metric over the images of which it is known."""
    names = dict.fromkeys(name for row in measured for name in row)
    means = {name: _mean([row[name] for row in measured if name in row]) for name in names}
    return {name: mean for name, mean in means.items() if mean is not None}


def _tests(of: Mapping[str, Sequence[Row]], reference: str, told: Mapping[str, Told]) -> dict[str, Test]:
    """The reference against every other arm, over the (item, seed) pairs that both have."""
    pairs: dict[str, tuple[list[float], list[float]]] = {}
    ours = {(r.item, r.seed): float(r.joint) for r in of[reference]}
    for arm, rows in of.items():
        theirs = {(r.item, r.seed): float(r.joint) for r in rows}
        common = sorted(set(ours) & set(theirs))
        if arm != reference and common:
            a = by_item([(item, ours[item, seed]) for item, seed in common])
            b = by_item([(item, theirs[item, seed]) for item, seed in common])
            pairs[arm] = list(a.values()), list(b.values())
    p = {arm: paired_permutation(a, b) for arm, (a, b) in pairs.items()}
    corrected: dict[str, float] = {}
    for kind in {told[arm].kind for arm in pairs}:
        corrected |= holm({arm: p[arm] for arm in pairs if told[arm].kind == kind})
    return {
        arm: Test(difference=bootstrap([x - y for x, y in zip(a, b, strict=True)]), p=p[arm], p_holm=corrected[arm])
        for arm, (a, b) in pairs.items()
    }


def markdown(suite: Suite, summary: Summary) -> str:
    """The tables as Markdown."""
    reference = summary.reference
    lines = [f"# {suite.title}", ""]
    lines += [
        "Joint accuracy: the judge finds everything that the prompt asks for. Brackets: 95 % bootstrap interval over "
        "prompts. p: paired permutation test over prompts, Holm-corrected over the arms of a kind (controls, bounds, "
        "ours) in a table.",
        "",
    ]
    for group, cells in summary.groups.items():
        facets = list(dict.fromkeys(f for c in cells.values() for f in c.facets))
        metrics = list(dict.fromkeys(m for c in cells.values() for m in c.metrics))
        head = ["arm", "joint", *facets, "harmonic", "critic", *metrics, "images made", "failed"]
        head += [f"{reference} minus it", "p"] if reference else []
        n = next(iter(cells.values())).joint.n
        lines += [f"## {group} ({n} prompts)", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for arm, cell in cells.items():
            row = [summary.arms[arm].title, str(cell.joint)]
            row += [_number(cell.facets.get(f)) for f in facets]
            row += [
                _number(v) for v in (cell.harmonic, cell.critic, *(cell.metrics.get(m) for m in metrics), cell.made)
            ]
            row.append(str(cell.errors))
            if reference:
                test = summary.tests.get(group, {}).get(arm)
                row += [str(test.difference), f"{test.p_holm:.4f}"] if test else ["", ""]
            lines.append("| " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join([*lines, *by_style.markdown(summary)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class Picture:
    """One image of a grid: whether all is right, the image as a data URI ("" if there is none), what is seen in it."""

    joint: bool
    source: str
    seen: str


@dataclass(frozen=True)
class Line:
    """One prompt of a grid; an arm a cell, None where it was not asked."""

    item: str
    cells: list[Picture | None]


def grids(folder: Path, rows: Sequence[Row], arms: Sequence[str]) -> dict[str, list[Line]]:
    """Group -> lines of a grid, of each arm the first seed's image."""
    out: dict[str, list[Line]] = {}
    for group in dict.fromkeys(r.group for r in rows):
        mine = [r for r in rows if r.group == group]
        items = list(dict.fromkeys(r.item for r in mine))
        shown = [items[i * len(items) // min(GRID_ROWS, len(items))] for i in range(min(GRID_ROWS, len(items)))]
        seed = min(r.seed for r in mine)
        at = {(r.item, r.arm): r for r in mine if r.seed == seed}
        out[group] = [Line(i, [_picture(folder, at[i, a]) if (i, a) in at else None for a in arms]) for i in shown]
    return out


def _picture(folder: Path, row: Row) -> Picture:
    if row.image is None or not (folder / row.image).is_file():
        return Picture(row.joint, "", row.error or "no image")
    buffer = io.BytesIO()
    with Image.open(folder / row.image) as image:
        # Without the metadata: a page of hundreds of images need not repeat every plan.
        Image.fromarray(np.asarray(image.convert("RGB"))).save(buffer, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    seen = row.judge or {}
    return Picture(row.joint, source, ", ".join(f"{facet}: {seen.get(facet, '')}" for facet in row.hits))


def write_report(suite: Suite, folder: Path, log: Path, rows: Sequence[Row], arms: Sequence[str]) -> SuiteResult:
    """Write ``summary.json``, ``report.md`` and ``report.html`` beside the log."""
    summary = summarise(rows, arms).model_copy(update={"styles": by_style.by_style(rows, suite.all_items())})
    # Twenty methods beside the rest would make rows of images that nobody looks along.
    seen = [a for a in arms if summary.arms[a].kind != "method"] or list(arms)
    html = page("report.html.j2", suite=suite, summary=summary, grids=grids(folder, rows, seen), arms=seen)
    write_bytes(folder / "summary.json", (summary.model_dump_json(indent=1) + "\n").encode())
    write_bytes(folder / "report.md", markdown(suite, summary).encode())
    write_bytes(folder / "report.html", html.encode())
    plain = summary.model_dump(mode="json")
    return SuiteResult(suite.name, folder, log, folder / "report.md", folder / "report.html", plain)
