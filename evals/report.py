"""Tables and pages from a log: joint accuracy with intervals, facets, paired tests, image grids (Markdown and HTML)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from ..files.atomic import write_bytes
from . import by_style
from .arms import arms as arm_table
from .runner import SuiteResult
from .stats import Estimate, bootstrap, by_item, harmonic_mean, holm, paired_permutation
from .suites.suite import Suite

ALL = "all prompts"
PLAIN = "method:linear"
"""The plain sum, which merge methods are compared with."""
GRID_ROWS = 10
"""Prompts shown as images in each group."""
Row = Mapping[str, Any]


def summarise(rows: Sequence[Row], arms: Sequence[str]) -> dict[str, Any]:
    """Everything the tables show, JSON-plain.

    Returns:
        ``groups``: group -> arm -> joint accuracy (mean and 95 % interval over prompts), accuracy per facet and their
        harmonic mean, means of critic score, similarity, images made, and the number of failed answers.
        ``reference``: the arm that others are compared with. ``tests``: group -> arm -> difference of the reference to
        it, p (paired permutation over prompts) and p after Holm's correction over the arms of its kind: that ours is
        ahead of every control is one claim, and how it stands to bounds, methods and its own parts is no part of it.
        ``methods``: likewise over all prompts, the plain sum against every other merge method.
    """
    groups = list(dict.fromkeys(r["group"] for r in rows))
    if len(groups) > 1:
        groups.append(ALL)
    reference = next((a for a in ("ours", "ours_no_loop", "oracle_choice", PLAIN) if a in arms), None)
    table: dict[str, dict[str, Any]] = {}
    tests: dict[str, dict[str, Any]] = {}
    for group in groups:
        of = {a: [r for r in rows if r["arm"] == a and group in (r["group"], ALL)] for a in arms}
        of = {a: found for a, found in of.items() if found}
        table[group] = {a: _cell(found) for a, found in of.items()}
        if reference in of:
            tests[group] = _tests(of, reference)
    merges = {a: [r for r in rows if r["arm"] == a] for a in arms if a.startswith(arm_table.METHOD)}
    merges = {a: found for a, found in merges.items() if found}
    methods = _tests(merges, PLAIN) if PLAIN in merges else {}
    return {"groups": table, "reference": reference, "tests": tests, "methods": methods, "arms": _titles(arms)}


def _titles(arms: Sequence[str]) -> dict[str, dict[str, str]]:
    known = {a: arm_table.get(a) for a in arms if a in arm_table.names() or a.startswith(arm_table.METHOD)}
    return {
        a: {"title": known[a].title, "kind": known[a].kind} if a in known else {"title": a, "kind": ""} for a in arms
    }


def _cell(rows: Sequence[Row]) -> dict[str, Any]:
    facets = {f: _mean([r["hits"][f] for r in rows if f in r["hits"]]) for f in ("subject", "style", "background")}
    facets = {f: v for f, v in facets.items() if v is not None}
    return {
        "joint": asdict(bootstrap(list(by_item([(r["item"], float(r["joint"])) for r in rows]).values()))),
        "facets": facets,
        "harmonic": round(harmonic_mean(v for v in facets.values() if v is not None), 4) if facets else None,
        "critic": _mean([r["critic"] for r in rows if "critic" in r]),
        "similarity": _mean([r["similarity"] for r in rows if "similarity" in r]),
        "made": _mean([r["made"] for r in rows if "made" in r]),
        "errors": sum("error" in r for r in rows),
        "images": len(rows),
    }


def _mean(values: Sequence[float | bool]) -> float | None:
    return round(float(np.mean([float(v) for v in values])), 4) if values else None


def _tests(of: Mapping[str, Sequence[Row]], reference: str) -> dict[str, Any]:
    """The reference against every other arm, over the (item, seed) pairs that both have."""
    found: dict[str, Any] = {}
    ours = {(r["item"], r["seed"]): float(r["joint"]) for r in of[reference]}
    for arm, rows in of.items():
        theirs = {(r["item"], r["seed"]): float(r["joint"]) for r in rows}
        common = sorted(set(ours) & set(theirs))
        if arm == reference or not common:
            continue
        a = list(by_item([(item, ours[item, seed]) for item, seed in common]).values())
        b = list(by_item([(item, theirs[item, seed]) for item, seed in common]).values())
        difference = bootstrap([x - y for x, y in zip(a, b, strict=True)])
        found[arm] = {"difference": asdict(difference), "p": paired_permutation(a, b)}
    kinds = {arm: told["kind"] for arm, told in _titles(list(found)).items()}
    for kind in set(kinds.values()):
        for arm, p in holm({a: t["p"] for a, t in found.items() if kinds[a] == kind}).items():
            found[arm]["p_holm"] = p
    return found


def markdown(suite: Suite, summary: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    reference = summary["reference"]
    lines = [f"# {suite.title}", ""]
    lines += [
        "Joint accuracy: the judge finds everything that the prompt asks for. Brackets: 95 % bootstrap interval over "
        "prompts. p: paired permutation test over prompts, Holm-corrected over the arms of a kind (controls, bounds, "
        "ours) in a table.",
        "",
    ]
    for group, cells in summary["groups"].items():
        facets = list(dict.fromkeys(f for c in cells.values() for f in c["facets"]))
        head = ["arm", "joint", *facets, "harmonic", "critic", "images made", "failed"]
        head += [f"{reference} minus it", "p"] if reference else []
        n = next(iter(cells.values()))["joint"]["n"]
        lines += [f"## {group} ({n} prompts)", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for arm, cell in cells.items():
            row = [summary["arms"][arm]["title"], str(Estimate(**cell["joint"]))]
            row += [_number(cell["facets"].get(f)) for f in facets]
            row += [_number(cell[k]) for k in ("harmonic", "critic", "made")] + [str(cell["errors"])]
            if reference:
                test = summary["tests"].get(group, {}).get(arm)
                row += [f"{Estimate(**test['difference'])}", f"{test['p_holm']:.4f}"] if test else ["", ""]
            lines.append("| " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join([*lines, *by_style.markdown(summary)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def grids(folder: Path, rows: Sequence[Row], arms: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Group -> lines of a grid: prompt and, per arm, the first seed's image as a data URI with what the judge saw."""
    out: dict[str, list[dict[str, Any]]] = {}
    for group in dict.fromkeys(r["group"] for r in rows):
        mine = [r for r in rows if r["group"] == group]
        items = list(dict.fromkeys(r["item"] for r in mine))
        shown = [items[i * len(items) // min(GRID_ROWS, len(items))] for i in range(min(GRID_ROWS, len(items)))]
        seed = min(r["seed"] for r in mine)
        at = {(r["item"], r["arm"]): r for r in mine if r["seed"] == seed}
        out[group] = [
            {"item": i, "cells": [_picture(folder, at[i, a]) if (i, a) in at else None for a in arms]} for i in shown
        ]
    return out


def _picture(folder: Path, row: Row) -> dict[str, Any]:
    cell: dict[str, Any] = {"joint": row["joint"], "source": "", "seen": row.get("error", "no image")}
    if "image" in row and (folder / row["image"]).is_file():
        buffer = io.BytesIO()
        with Image.open(folder / row["image"]) as image:
            # Without the metadata: a page of hundreds of images need not repeat every plan.
            Image.fromarray(np.asarray(image.convert("RGB"))).save(buffer, "PNG", optimize=True)
        cell["source"] = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        cell["seen"] = ", ".join(f"{facet}: {row['judge'][facet]}" for facet in row["hits"])
    return cell


def write_report(suite: Suite, folder: Path, log: Path, rows: Sequence[Row], arms: Sequence[str]) -> SuiteResult:
    """Write ``summary.json``, ``report.md`` and ``report.html`` beside the log."""
    summary = summarise(rows, arms) | {"styles": by_style.by_style(rows, suite.all_items())}
    text = markdown(suite, summary)
    loader = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # Twenty methods beside the rest would make rows of images that nobody looks along.
    seen = [a for a in arms if summary["arms"][a]["kind"] != "method"] or list(arms)
    page = loader.get_template("report.html.j2").render(
        suite=suite, summary=summary, grids=grids(folder, rows, seen), arms=seen, estimate=Estimate
    )
    write_bytes(folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    write_bytes(folder / "report.md", text.encode())
    write_bytes(folder / "report.html", page.encode())
    return SuiteResult(suite.name, folder, log, folder / "report.md", folder / "report.html", summary)
