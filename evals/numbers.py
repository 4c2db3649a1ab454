"""The tables of docs/numbers.md and docs/methods.md: ``python -m diffgraph.evals.numbers [EVALS_FOLDER]``.

Nothing is computed here: each figure stands in the ``summary.json`` of a suite's newest run, and this only picks and
lays out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import UserError
from ..settings import Settings
from .stats import Estimate
from .suites.selection import Rates
from .summary import ALL, Summary

S = TypeVar("S")


def newest(root: Path, suite: str, model: type[S]) -> S | None:
    """The summary of a suite's latest run below ``root``, as a ``model``; None if it never ran.

    Raises:
        UserError: what lies there is no such summary.
    """
    found = [p / "summary.json" for p in (root / suite, *root.glob(f"{suite}-*")) if (p / "summary.json").is_file()]
    if not found:
        return None
    latest = max(found, key=lambda p: p.stat().st_mtime)
    try:
        return TypeAdapter(model).validate_json(latest.read_bytes())
    except ValidationError as error:
        raise UserError(f"{latest} is no summary of a suite: {error}") from error


def percent(one: Estimate) -> str:
    """ "87 % [80, 93]": a mean with its interval."""
    return f"{100 * one.mean:.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def world(base: Summary, experts: Summary) -> str:
    """What the base draws, and every expert alone on its own skills beside the base."""
    rows = [[f"base: {g}", percent(cells["base"].joint), "", ""] for g, cells in base.groups.items() if g != ALL]
    rows += _beside(experts)
    return table(["what", "base alone", "with the expert", "subject kept"], rows)


def _beside(summary: Summary) -> list[list[str]]:
    rows = []
    for group, cells in summary.groups.items():
        if group == ALL:
            continue
        mine = cells["oracle_choice"]
        facet = next((f for f in ("style", "background") if f in mine.facets), "subject")
        kept = "" if facet == "subject" else f"{100 * mine.facets['subject']:.0f} %"
        rows.append(
            [
                group,
                f"{100 * cells['base'].facets.get(facet, 0):.0f} %",
                f"{100 * mine.facets[facet]:.0f} %",
                kept,
            ]
        )
    return rows


def decoys(summary: Summary) -> str:
    """Decoys merged on purpose, beside the base."""
    head = ["decoy", "base alone", "with the decoy", "subject kept", "refused"]
    lines = []
    for row in _beside(summary):
        cell = summary.groups[row[0]]["oracle_choice"]
        lines.append([*row, f"{cell.errors} of {cell.images}"])
    return table(head, lines)


def compose(summary: Summary) -> str:
    """Joint accuracy of every arm in every group, images made for each, and p of ours against it over all prompts."""
    groups = list(summary.groups)
    tests = summary.tests.get(ALL, {})
    rows = []
    for arm, told in summary.arms.items():
        if told.kind == "method":
            continue
        cells = [summary.groups[g].get(arm) for g in groups]
        p = tests[arm].p_holm if arm in tests else None
        title = f"**{told.title}**" if told.kind == "ours" else told.title
        shown = [percent(c.joint) if c else "" for c in cells]
        over_all = summary.groups[groups[-1]].get(arm)
        made = over_all.made if over_all else None
        shown.append("" if made is None else f"{made:.1f}")
        rows.append([title, *shown, "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"])
    return table(["arm", *groups, "images", f"p ({summary.reference} against it)"], rows)


def methods(summary: Summary) -> str:
    """Joint accuracy of every merge method where several experts meet, the best first, and how far it is from the
    plain sum, in images right of a hundred with a 95 % interval of the difference, over all prompts.
    """
    groups = [g for g in summary.groups if g != "subject"]
    arms = [a for a, told in summary.arms.items() if told.kind == "method"]
    cell = summary.groups
    rows = []
    for arm in sorted(arms, key=lambda a: -cell[groups[-1]][a].joint.mean):
        test = summary.methods.get(arm)
        beside = ""
        if test is not None:
            sum_ahead = test.difference
            mean, low, high = (100 * (0.0 - v) for v in (sum_ahead.mean, sum_ahead.high, sum_ahead.low))
            beside = f"{mean:+.1f} [{low:.1f}, {high:.1f}]"
        rows.append([f"`{arm.removeprefix('method:')}`", *(percent(cell[g][arm].joint) for g in groups), beside])
    return table(["method", *groups, "beside `linear`"], rows)


def styles(summary: Summary) -> str:
    """Joint accuracy by style, of ours and of the arms that it is held against, in every group with styles."""
    shown = [a for a in ("concat_sum", "ours", "joint_lora") if a in summary.arms]
    groups = summary.styles
    head = ["style", *(f"{group}: {summary.arms[arm].title}" for group in groups for arm in shown)]
    rows = [
        [
            style,
            *(
                percent(groups[g].get(style, {})[a]) if a in groups[g].get(style, {}) else ""
                for g in groups
                for a in shown
            ),
        ]
        for style in dict.fromkeys(s for found in groups.values() for s in found)
    ]
    return table(head, rows)


def selection(summary: Mapping[str, Rates]) -> str:
    """Choice of experts, by group of prompts."""
    keys = ("prompts", "f1", "uncovered_recall", "uncovered_precision", "decoys")
    rows = [[g, *(str(getattr(c, k)) for k in keys), percent(c.exact)] for g, c in summary.items()]
    return table(["prompts", "n", "F1", "uncovered named", "rightly so", "decoys chosen", "all right"], rows)


def blocks(root: Path) -> dict[str, str]:
    """Name of a block of docs -> its table, for every suite that has run."""
    out = {}
    base, experts = newest(root, "base", Summary), newest(root, "experts", Summary)
    if base and experts:
        out["world"] = world(base, experts)
    if found := newest(root, "decoys", Summary):
        out["decoys"] = decoys(found)
    if composed := newest(root, "compose", Summary):
        out["compose"] = compose(composed)
    if chosen := newest(root, "selection", dict[str, Rates]):
        out["selection"] = selection(chosen)
    if composed and composed.styles:
        out["styles"] = styles(composed)
    if composed and any(told.kind == "method" for told in composed.arms.values()):
        out["methods"] = methods(composed)
    return out


def main(arguments: Sequence[str]) -> None:
    """Print every block. Raises UserError if no suite has run."""
    root = Path(arguments[0]) if arguments else Settings().root / "evals"
    found = blocks(root)
    if not found:
        raise UserError(f"{root} holds no results yet: run `make eval SUITE=base` and the other suites first.")
    for name, text in found.items():
        print(f"<!-- numbers:{name} -->\n{text}\n<!-- /numbers:{name} -->\n")


if __name__ == "__main__":
    main(sys.argv[1:])
