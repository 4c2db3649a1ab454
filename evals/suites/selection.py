"""The selection suite: does activation choose the right experts, name what nobody can draw, and leave decoys alone?

No image is made. Micro-averaged over prompts: precision, recall and F1 of chosen experts; recall and precision of
uncovered parts; how often a decoy was chosen.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from ...files.atomic import write_bytes
from ...graph.selection.solver import activate
from ...tools.context import Context
from ..pages import page
from ..stats import Estimate, bootstrap
from ..summary import ALL
from .image_suite import check_unique
from .items import Frozen
from .suite import Options, Suite, SuiteResult, suite_kind
from .truth import Truth, truth

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|\d+")
_FILLER = frozenset(
    ["a", "an", "the", "in", "on", "with", "of", "and", "at", "style", "background", "picture", "image", "drawing"]
)


class Choice(Frozen):
    """One prompt of a selection suite.

    ``want`` maps a facet to the skills that the prompt asks for and the world has, by name; ``uncovered`` lists the
    words of the prompt for which it has nothing.
    """

    id: str
    group: str
    prompt: str
    want: dict[Literal["subject", "style", "background"], tuple[str, ...]] = Field(default_factory=dict)
    uncovered: tuple[str, ...] = ()


class SelectionSuite(Suite):
    """Prompts with the experts to choose."""

    choices: tuple[Choice, ...]

    @model_validator(mode="after")
    def _unique(self) -> SelectionSuite:
        check_unique([c.id for c in self.choices])
        return self


class Grade(Frozen):
    """One prompt's result: experts by id, and words of the prompt.

    Attributes:
        right, missed, extra: experts chosen rightly, wanted and not chosen, chosen and not wanted.
        decoys: decoys among the chosen.
        named, unnamed: what nobody can draw, named or not.
        loose: named as uncovered although nothing is wrong with it.
        exact: whether nothing is to be said against the answer.
    """

    item: str
    group: str
    prompt: str
    chosen: tuple[str, ...]
    uncovered: tuple[str, ...]
    right: tuple[str, ...]
    missed: tuple[str, ...]
    extra: tuple[str, ...]
    decoys: tuple[str, ...]
    named: tuple[str, ...]
    unnamed: tuple[str, ...]
    loose: tuple[str, ...]
    exact: bool
    seconds: float = 0.0


class Rates(Frozen):
    """Micro-averaged figures over graded prompts; ``exact`` is the share of prompts answered exactly."""

    prompts: int
    precision: float
    recall: float
    f1: float
    uncovered_recall: float
    uncovered_precision: float
    decoys: int
    exact: Estimate


def words(text: str) -> frozenset[str]:
    """The words of a text that carry meaning."""
    return frozenset(_WORD.findall(text.casefold())) - _FILLER


def expected(choice: Choice, world: Truth) -> list[tuple[str, ...]]:
    """For each skill that needs an expert, the ids of which any one is right."""
    sets = [world.experts(facet, name) for facet, skills in choice.want.items() for name in skills]
    return list(dict.fromkeys(s for s in sets if s))


def grade(choice: Choice, experts: Sequence[str], uncovered: Sequence[str], world: Truth) -> Grade:
    """One prompt's result."""
    wanted = expected(choice, world)
    right = {next(e for e in s if e in experts) for s in wanted if any(e in experts for e in s)}
    missed = [s[0] for s in wanted if not any(e in experts for e in s)]
    extra = sorted(set(experts) - right)
    named = [u for u in choice.uncovered if any(words(u) & words(found) for found in uncovered)]
    loose = [f for f in uncovered if not any(words(u) & words(f) for u in choice.uncovered)]
    return Grade(
        item=choice.id,
        group=choice.group,
        prompt=choice.prompt,
        chosen=tuple(sorted(experts)),
        uncovered=tuple(uncovered),
        right=tuple(sorted(right)),
        missed=tuple(missed),
        extra=tuple(extra),
        decoys=tuple(sorted(set(experts) & set(world.decoys.values()))),
        named=tuple(named),
        unnamed=tuple(u for u in choice.uncovered if u not in named),
        loose=tuple(loose),
        exact=not (missed or extra or loose) and len(named) == len(choice.uncovered),
    )


def rate(grades: Sequence[Grade]) -> Rates:
    """Micro-averaged figures over graded prompts; a share of nothing is 1."""
    right, missed, extra, named = (
        sum(len(getattr(g, field)) for g in grades) for field in ("right", "missed", "extra", "named")
    )
    return Rates(
        prompts=len(grades),
        precision=_share(right, extra),
        recall=_share(right, missed),
        f1=_share(2 * right, missed + extra),
        uncovered_recall=_share(named, sum(len(g.unnamed) for g in grades)),
        uncovered_precision=_share(named, sum(len(g.loose) for g in grades)),
        decoys=sum(len(g.decoys) for g in grades),
        exact=bootstrap([float(g.exact) for g in grades]),
    )


def _share(good: int, bad: int) -> float:
    return round(good / (good + bad), 4) if good + bad else 1.0


@suite_kind("selection", SelectionSuite)
def run(suite: SelectionSuite, ctx: Context, options: Options) -> SuiteResult:
    """Activate every prompt against the graph, grade it and write the report. Takes seconds: always starts afresh."""
    groups: dict[str, list[Choice]] = {}
    for choice in suite.choices:
        groups.setdefault(choice.group, []).append(choice)
    chosen = [c for some in groups.values() for c in some[: options.limit]]
    grades = []
    for number, choice in enumerate(chosen, 1):
        grades.append(_graded(choice, ctx))
        if options.on_progress is not None:
            options.on_progress(number, len(chosen), choice.prompt)
    summary = {ALL: rate(grades), **{g: rate([r for r in grades if r.group == g]) for g in groups}}
    plain: dict[str, JsonValue] = {group: rates.model_dump(mode="json") for group, rates in summary.items()}
    folder = options.root / suite.name
    folder.mkdir(parents=True, exist_ok=True)
    log, report, html = folder / "log.jsonl", folder / "report.md", folder / "report.html"
    write_bytes(log, "".join(g.model_dump_json() + "\n" for g in grades).encode())
    write_bytes(folder / "summary.json", (json.dumps(plain, indent=1) + "\n").encode())
    write_bytes(report, markdown(suite, summary, grades).encode())
    filled = page("selection.html.j2", suite=suite, summary=summary, rows=grades, columns=_COLUMNS)
    write_bytes(html, filled.encode())
    return SuiteResult(suite.name, folder, log, report, html, {"groups": plain})


def _graded(choice: Choice, ctx: Context) -> Grade:
    began = time.perf_counter()
    found = activate(choice.prompt, ctx.store, ctx.family, ctx.reading)
    unmet = [f.text for f in found.facets if f.by is None]
    uncovered = list(dict.fromkeys([*found.uncovered, *unmet]))
    graded = grade(choice, [e.id for e in found.experts], uncovered, truth())
    return graded.model_copy(update={"seconds": round(time.perf_counter() - began, 4)})


_COLUMNS = ("prompts", "precision", "recall", "f1", "uncovered_recall", "uncovered_precision", "decoys")


def markdown(suite: Suite, summary: Mapping[str, Rates], grades: Sequence[Grade]) -> str:
    """Figures per group, then every prompt that was not answered exactly."""
    lines = [
        f"# {suite.title}",
        "",
        "| group | " + " | ".join(_COLUMNS) + " | exact |",
        "|" + "---|" * (len(_COLUMNS) + 2),
    ]
    for group, rates in summary.items():
        lines.append(f"| {group} | " + " | ".join(str(getattr(rates, c)) for c in _COLUMNS) + f" | {rates.exact} |")
    lines += ["", "## Not answered exactly", ""]
    for one in grades:
        if not one.exact:
            faults = {"missed": one.missed, "extra": one.extra, "unnamed": one.unnamed, "loose": one.loose}
            told = "; ".join(f"{fault}: {', '.join(found)}" for fault, found in faults.items() if found)
            lines.append(f"- `{one.prompt}` — {told}")
    return "\n".join(lines) + "\n"
