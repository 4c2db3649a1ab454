"""The selection suite: does activation choose the right experts, name what nobody can draw, and leave decoys alone?

No image is made. Micro-averaged over prompts: precision, recall and F1 of chosen experts; recall and precision of
uncovered parts; how often a decoy was chosen.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import write_bytes
from ..graph.selection.solver import activate
from ..tools.context import Context
from .runner import Progress, SuiteResult
from .stats import Estimate, bootstrap
from .suites.suite import Choice, Suite, Truth, truth

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|\d+")
_FILLER = frozenset(
    ["a", "an", "the", "in", "on", "with", "of", "and", "at", "style", "background", "picture", "image", "drawing"]
)


def words(text: str) -> frozenset[str]:
    """The words of a text that carry meaning."""
    return frozenset(_WORD.findall(text.casefold())) - _FILLER


def expected(choice: Choice, world: Truth) -> list[tuple[str, ...]]:
    """For each skill that needs an expert, the ids of which any one is right."""
    sets = [world.experts(facet, name) for facet, skills in choice.want.items() for name in skills]
    return list(dict.fromkeys(s for s in sets if s))


def grade(choice: Choice, experts: Sequence[str], uncovered: Sequence[str], world: Truth) -> dict[str, Any]:
    """One prompt's result as a log row."""
    wanted = expected(choice, world)
    right = {next(e for e in s if e in experts) for s in wanted if any(e in experts for e in s)}
    missed = [s[0] for s in wanted if not any(e in experts for e in s)]
    extra = sorted(set(experts) - right)
    named = [u for u in choice.uncovered if any(words(u) & words(found) for found in uncovered)]
    loose = [f for f in uncovered if not any(words(u) & words(f) for u in choice.uncovered)]
    return {
        "item": choice.id,
        "group": choice.group,
        "prompt": choice.prompt,
        "chosen": sorted(experts),
        "uncovered": list(uncovered),
        "right": sorted(right),
        "missed": missed,
        "extra": extra,
        "decoys": sorted(set(experts) & set(world.decoys.values())),
        "named": named,
        "unnamed": [u for u in choice.uncovered if u not in named],
        "loose": loose,
        "exact": not (missed or extra or loose) and len(named) == len(choice.uncovered),
    }


def rate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Micro-averaged figures over graded prompts; a share of nothing is 1."""
    count: Callable[[str], int] = lambda key: sum(len(r[key]) for r in rows)  # noqa: E731
    right, missed, extra = count("right"), count("missed"), count("extra")
    precision, recall = _share(right, extra), _share(right, missed)
    exact: Estimate = bootstrap([float(r["exact"]) for r in rows])
    return {
        "prompts": len(rows),
        "precision": precision,
        "recall": recall,
        "f1": _share(2 * right, missed + extra),
        "uncovered_recall": _share(count("named"), count("unnamed")),
        "uncovered_precision": _share(count("named"), count("loose")),
        "decoys": count("decoys"),
        "exact": {"mean": exact.mean, "low": exact.low, "high": exact.high, "n": exact.n},
    }


def _share(good: int, bad: int) -> float:
    return round(good / (good + bad), 4) if good + bad else 1.0


def run_selection(
    suite: Suite, ctx: Context, root: Path, *, limit: int | None = None, on_progress: Progress | None = None
) -> SuiteResult:
    """Activate every prompt against the graph, grade it and write the report. Takes seconds: always starts afresh."""
    world = truth()
    groups: dict[str, list[Choice]] = {}
    for choice in suite.choices:
        groups.setdefault(choice.group, []).append(choice)
    chosen = [c for some in groups.values() for c in (some if limit is None else some[:limit])]
    rows = []
    for number, choice in enumerate(chosen, 1):
        began = time.perf_counter()
        found = activate(choice.prompt, ctx.store, ctx.family, ctx.reading)
        unmet = [f.text for f in found.facets if f.by is None]
        uncovered = list(dict.fromkeys([*found.uncovered, *unmet]))
        rows.append(grade(choice, [e.id for e in found.experts], uncovered, world))
        rows[-1]["seconds"] = round(time.perf_counter() - began, 4)
        if on_progress is not None:
            on_progress(number, len(chosen), choice.prompt)
    summary: dict[str, Any] = {g: rate([r for r in rows if r["group"] == g]) for g in groups}
    summary = {"all prompts": rate(rows), **summary}
    folder = root / suite.name
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(suite, summary, rows)
    log, report = folder / "log.jsonl", folder / "report.md"
    write_bytes(log, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode())
    write_bytes(folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    write_bytes(report, text.encode())
    page = folder / "report.html"
    write_bytes(page, _page(suite, summary, rows).encode())
    return SuiteResult(suite.name, folder, log, report, page, {"groups": summary})


_COLUMNS = ("prompts", "precision", "recall", "f1", "uncovered_recall", "uncovered_precision", "decoys")


def markdown(suite: Suite, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures per group, then every prompt that was not answered exactly."""
    lines = [
        f"# {suite.title}",
        "",
        "| group | " + " | ".join(_COLUMNS) + " | exact |",
        "|" + "---|" * (len(_COLUMNS) + 2),
    ]
    for group, cell in summary.items():
        exact = Estimate(**cell["exact"])
        lines.append(f"| {group} | " + " | ".join(str(cell[c]) for c in _COLUMNS) + f" | {exact} |")
    lines += ["", "## Not answered exactly", ""]
    for row in rows:
        if not row["exact"]:
            faults = [f"{k}: {', '.join(row[k])}" for k in ("missed", "extra", "unnamed", "loose") if row[k]]
            lines.append(f"- `{row['prompt']}` — {'; '.join(faults)}")
    return "\n".join(lines) + "\n"


def _page(suite: Suite, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    template = loader.get_template("selection.html.j2")
    return template.render(suite=suite, summary=summary, rows=rows, columns=_COLUMNS, estimate=Estimate)
