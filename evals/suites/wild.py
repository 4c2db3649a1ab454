"""The wild suite: of the experts that people took for what they typed, how many does the search find, and which are
chosen?

It reads a folder of real pages and recipes (`wild_data`), needs no base and no weights, and draws nothing. The search
is the one that a base of open vocabulary is served by, on a graph made of the folder's pages without the example
prompts of pages that a recipe comes from. Beside it, in the same run: BM25 and plain MiniLM (`wild_baselines`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from ...errors import UserError
from ...files.atomic import write_bytes
from ...graph.finding.candidates import candidates
from ...graph.reading.split import split
from ...graph.selection.shortlist import asked_for
from ...graph.selection.solver import activate
from ...graph.store.graph_store import GraphStore
from ..pages import page
from ..stats import Estimate, bootstrap
from .suite import Options, Suite, SuiteResult, suite_without_base
from .wild_baselines import Rank, bm25, minilm
from .wild_data import FAMILY, FORMS, Case, Wild, facet_of_page, labelled
from .wild_facets import accuracy

DEPTHS = (1, 5, 10)
_BATCH = 200


class WildSuite(Suite):
    """Recipes of people, from the folder that ``--data`` names."""

    title: str = "Experts in the wild: finding what people took"


@suite_without_base("wild", WildSuite)
def run(suite: WildSuite, options: Options) -> SuiteResult:
    """Search for every recipe's experts and write the report. The graph of the pages is kept for the next run."""
    if options.data is None:
        raise UserError("The wild suite reads a folder of pages and recipes: name it with --data FOLDER.")
    wild = Wild.read(options.data)
    folder = options.root / suite.name
    with graph_of(wild, folder, options) as store:
        return _measured(suite, wild, store, folder, options)


def graph_of(wild: Wild, folder: Path, options: Options) -> GraphStore:
    """The graph of the folder's pages, made where it is not there yet."""
    store = GraphStore(folder / f"graph-{wild.digest[:16]}")
    nodes = [*wild.experts(), *wild.others()]
    known = {e.id for e in store.experts()}
    missing = [e for e in nodes if e.id not in known]
    for at in range(0, len(missing), _BATCH):
        store.add_experts(missing[at : at + _BATCH], registered=0)
        if options.on_progress is not None:
            options.on_progress(len(known) + at, len(nodes), "making the graph of the pages")
    return store


def _measured(suite: WildSuite, wild: Wild, store: GraphStore, folder: Path, options: Options) -> SuiteResult:
    cases = wild.cases[: options.limit]
    nodes = wild.experts()
    tellers: dict[str, Rank] = {
        "ours": lambda prompt: [c.id for c in candidates(asked_for(split(prompt)), store, FAMILY)],
        "bm25": bm25(nodes),
        "minilm": minilm(nodes, store.embedder),
    }
    began = time.perf_counter()
    rows: list[dict[str, JsonValue]] = []
    ranked: dict[tuple[str, str, str], list[str]] = {}
    for number, case in enumerate(cases, 1):
        for form in FORMS:
            for who, rank in tellers.items():
                ranked[who, form, case.recipe.id] = rank(case.query(form))
            ranked["chosen", form, case.recipe.id] = _chosen(case.query(form), store)
        rows.append(_row(case, ranked))
        if options.on_progress is not None:
            options.on_progress(number, len(cases), case.recipe.id)
    seconds = (time.perf_counter() - began) / max(1, len(cases) * len(FORMS))
    figures = _figures(cases, ranked, wild)
    rated = accuracy(labelled(wild.pages), store.embedder)
    summary = _summary(figures, rated)
    details = _details(figures, wild, cases, seconds)
    return _written(suite, folder, rows, summary, details)


def _chosen(prompt: str, store: GraphStore) -> list[str]:
    return [e.id for e in activate(prompt, store, FAMILY, vocabulary="open").experts]


# -- figures

Ranked = Mapping[tuple[str, str, str], Sequence[str]]
Figures = dict[str, Estimate]


def _figures(cases: Sequence[Case], ranked: Ranked, wild: Wild) -> Figures:
    """Name, as a path -> the mean over recipes, with its interval."""
    found: Figures = {}

    def add(name: str, values: Sequence[float]) -> None:
        if values:
            found[name] = bootstrap(values)

    asked = [c for c in cases if c.wanted]
    groups: dict[str, list[Case]] = {
        "one": [c for c in asked if not c.several],
        "several": [c for c in asked if c.several],
    }
    for who in ("ours", "bm25", "minilm"):
        for group, some in groups.items():
            for form in FORMS:
                for depth in DEPTHS:
                    add(f"{who}/{group}/{form}/recall@{depth}", [_recall(c, ranked, who, form, depth) for c in some])
    facets = {p.id: facet_of_page(p) for p in wild.pages}
    for facet in sorted({f for f in facets.values() if f}):
        some = [c for c in groups["one"] if facets.get(c.wanted[0]) == facet]
        for form in FORMS:
            add(f"facet/{facet}/{form}/recall@10", [_recall(c, ranked, "ours", form, 10) for c in some])
    priors = [c for c in cases if c.quality]
    for form in FORMS:
        add(f"quality/{form}/recall@10", [_share(c.quality, ranked["ours", form, c.recipe.id][:10]) for c in priors])
        taken = [(c, ranked["chosen", form, c.recipe.id]) for c in asked]
        add(f"chosen/{form}/recall", [_share(c.wanted, chosen) for c, chosen in taken])
        add(f"chosen/{form}/experts", [float(len(chosen)) for _, chosen in taken])
        some_chosen = [(c, chosen) for c, chosen in taken if chosen]
        add(f"chosen/{form}/precision", [_right(c, chosen) for c, chosen in some_chosen])
    return found


def _recall(case: Case, ranked: Ranked, who: str, form: str, depth: int) -> float:
    return _share(case.wanted, ranked[who, form, case.recipe.id][:depth])


def _share(wanted: Sequence[str], found: Sequence[str]) -> float:
    return sum(i in found for i in wanted) / len(wanted)


def _right(case: Case, chosen: Sequence[str]) -> float:
    return sum(i in (*case.wanted, *case.quality) for i in chosen) / len(chosen)


def _summary(figures: Figures, facets: Estimate | None) -> dict[str, JsonValue]:
    """The figures by group, the shape that ``--json`` ends with."""

    def group(who: str) -> dict[str, JsonValue]:
        return {
            name: {form: {f"recall@{d}": _mean(figures, f"{who}/{name}/{form}/recall@{d}") for d in DEPTHS}
                   for form in FORMS}
            for name in ("one", "several")
        }  # fmt: skip

    def chosen(form: str) -> dict[str, JsonValue]:
        return {name: _mean(figures, f"chosen/{form}/{name}") for name in ("recall", "precision", "experts")}

    return {
        **group("ours"),
        "chosen": {**chosen("prompt"), "prompt_no_triggers": chosen("prompt_no_triggers")},
        "facets": {"accuracy": round(facets.mean, 4) if facets else None},
        "bm25": group("bm25"),
        "minilm": group("minilm"),
    }


def _mean(figures: Figures, name: str) -> JsonValue:
    return round(figures[name].mean, 4) if name in figures else None


def _details(figures: Figures, wild: Wild, cases: Sequence[Case], seconds: float) -> dict[str, JsonValue]:
    """What stands behind the summary: intervals, quality experts apart, sizes, time."""
    return {
        "intervals": {
            name: {"mean": round(e.mean, 4), "low": round(e.low, 4), "high": round(e.high, 4), "n": e.n}
            for name, e in figures.items()
        },
        "pool": len(wild.pool),
        "recipes": len(cases),
        "seconds_a_prompt": round(seconds, 4),
    }


# -- the report


def _row(case: Case, ranked: Ranked) -> dict[str, JsonValue]:
    """One line of the log: ids and places only."""
    places: dict[str, JsonValue] = {}
    for form in FORMS:
        ours = list(ranked["ours", form, case.recipe.id])
        places[form] = {i: (ours.index(i) + 1 if i in ours else None) for i in (*case.wanted, *case.quality)}
        places[f"{form}/chosen"] = list(ranked["chosen", form, case.recipe.id])
    return {"recipe": case.recipe.id, "several": case.several, "places": places}


def _written(
    suite: WildSuite,
    folder: Path,
    rows: Sequence[Mapping[str, JsonValue]],
    summary: dict[str, JsonValue],
    details: dict[str, JsonValue],
) -> SuiteResult:
    log, report, html = folder / "log.jsonl", folder / "report.md", folder / "report.html"
    write_bytes(log, "".join(json.dumps(row) + "\n" for row in rows).encode())
    write_bytes(
        folder / "summary.json", (json.dumps({"details": details, "summary": summary}, indent=1) + "\n").encode()
    )
    text = markdown(suite, summary, details)
    write_bytes(report, text.encode())
    write_bytes(html, page("plain.html.j2", title=suite.title, text=text).encode())
    return SuiteResult(suite.name, folder, log, report, html, summary, details)


def markdown(suite: Suite, summary: Mapping[str, JsonValue], details: Mapping[str, JsonValue]) -> str:
    """All figures with their intervals, a row a figure."""
    lines = [f"# {suite.title}", "", f"{details['pool']} experts, {details['recipes']} recipes.", ""]
    lines += ["| figure | mean | interval | recipes |", "|---|---|---|---|"]
    intervals = details["intervals"]
    assert isinstance(intervals, dict)
    for name, e in intervals.items():
        assert isinstance(e, dict)
        lines.append(f"| {name} | {e['mean']} | {e['low']} to {e['high']} | {e['n']} |")
    lines += ["", f"Facets: {json.dumps(summary['facets'])}. {details['seconds_a_prompt']} s a prompt, all searches."]
    return "\n".join(lines) + "\n"
