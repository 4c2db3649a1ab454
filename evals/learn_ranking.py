"""Learns `graph/finding/weights.json` from recipes: ``python -m diffgraph.evals.learn_ranking --data FOLDER``.

Prints how well the weights find the experts of recipes that they were not learnt from: five folds, all recipes of a
page in one. What is written holds numbers only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files.atomic import write_bytes
from ..graph.finding.candidates import weighed
from ..graph.finding.evidence import ALL_COLUMNS, compared
from ..graph.finding.ranking import chance_columns
from ..graph.reading.split import split
from ..graph.selection.shortlist import asked_for
from ..graph.store.graph_store import GraphStore
from ..settings import Settings, user_path
from .suites.suite import Options
from .suites.wild import graph_of
from .suites.wild_data import FAMILY, FORMS, Wild

Rows = NDArray[np.float64]
RIDGE = 20.0
FOLDS = 5
_DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Lesson:
    """One prompt: its candidates' evidence, which of them were taken, and how many were in all."""

    group: str
    page: str
    evidence: Rows
    columns: Rows
    taken: Rows
    wanted: int


def lessons(wild: Wild, store: GraphStore) -> list[Lesson]:
    """A lesson for every recipe and form of its prompt."""
    made = []
    for case in (c for c in wild.cases if c.wanted):
        for form in FORMS:
            rows, found, _ = weighed(asked_for(split(case.query(form))), store, FAMILY)
            taken = np.array([float(f.id in case.wanted) for f in found])
            group = f"{'several' if case.several else 'one'}/{form}"
            page = case.recipe.page_expert or case.recipe.id
            made.append(Lesson(group, page, rows, compared(rows), taken, len(case.wanted)))
    return made


def fitted(columns: Sequence[Rows], taken: Sequence[Rows]) -> Rows:
    """Weights by which the taken ones stand first: softmax over each prompt's candidates, with a ridge."""
    from scipy.optimize import minimize

    pairs = [(c, t / t.sum()) for c, t in zip(columns, taken, strict=True) if t.sum()]
    x, y = np.concatenate([c for c, _ in pairs]), np.concatenate([t for _, t in pairs])
    sizes = np.array([len(c) for c, _ in pairs])
    starts = np.cumsum(sizes) - sizes

    def loss(w: Rows) -> tuple[float, Rows]:
        scores = x @ w
        top = np.maximum.reduceat(scores, starts)
        raised = np.exp(scores - np.repeat(top, sizes))
        total = np.add.reduceat(raised, starts)
        logs = scores - np.repeat(top + np.log(total), sizes)
        share = raised / np.repeat(total, sizes)
        return float(RIDGE / 2 * w @ w - (y * logs).sum()), RIDGE * w - (y - share) @ x

    found: Rows = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 80}).x
    return found


def chance_fitted(columns: Rows, taken: Rows) -> Rows:
    """Logistic regression of being taken, in the columns' own units."""
    from scipy.optimize import minimize

    mean, spread = columns.mean(0), columns.std(0) + 1e-9
    mean[0], spread[0] = 0.0, 1.0
    x = (columns - mean) / spread

    def loss(w: Rows) -> tuple[float, Rows]:
        odds = x @ w
        held = np.r_[0.0, w[1:]]
        value = np.logaddexp(0, odds).sum() - (taken * odds).sum() + held @ held / 2
        return float(value), x.T @ (1 / (1 + np.exp(-odds)) - taken) + held

    w = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    found: Rows = w / spread
    found[0] -= (w[1:] * mean[1:] / spread[1:]).sum()
    return found


def learnt(given: Sequence[Lesson]) -> tuple[dict[str, object], dict[str, dict[str, float]]]:
    """The content of ``weights.json``, and recall by group on recipes that were left out."""
    everything = np.concatenate([one.columns for one in given])
    mean, spread = everything.mean(0), everything.std(0)
    spread[spread < 1e-6] = 1.0
    scaled = [(one.columns - mean) / spread for one in given]
    taken = [one.taken for one in given]
    pages = sorted({one.page for one in given})
    fold = dict(zip(pages, np.random.RandomState(0).permutation(len(pages)) % FOLDS, strict=True))
    scores: list[Rows] = [np.zeros(0)] * len(given)
    for k in range(FOLDS):
        inside = [i for i, one in enumerate(given) if fold[one.page] != k]
        w = fitted([scaled[i] for i in inside], [taken[i] for i in inside])
        for i in (i for i, one in enumerate(given) if fold[one.page] == k):
            scores[i] = scaled[i] @ w
    held = {g: [(s, one) for s, one in zip(scores, given, strict=True) if one.group == g] for g in _groups(given)}
    recall = {g: {f"recall@{d}": round(_recall(some, d), 4) for d in _DEPTHS} for g, some in held.items()}
    seen = [(chance_columns(one.evidence, s), one.taken) for s, one in zip(scores, given, strict=True) if len(s)]
    chance = chance_fitted(np.concatenate([c for c, _ in seen]), np.concatenate([t for _, t in seen]))
    weights = fitted(scaled, taken)
    columns = {
        name: [round(float(v), 6) for v in (mean[i], spread[i], weights[i])] for i, name in enumerate(ALL_COLUMNS)
    }
    return {"columns": columns, "chance": [round(float(v), 6) for v in chance]}, recall


def _groups(given: Sequence[Lesson]) -> list[str]:
    return sorted({one.group for one in given})


def _recall(some: Sequence[tuple[Rows, Lesson]], depth: int) -> float:
    shares = []
    for scores, one in some:
        first = np.argsort(-scores, kind="stable")[:depth]
        shares.append(one.taken[first].sum() / one.wanted)
    return float(np.mean(shares))


def main() -> None:
    """Learn, print the recall on folds that were left out, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of experts.jsonl and recipes*.jsonl")
    parser.add_argument("--out", type=Path, default=Path("weights.json"))
    args = parser.parse_args()
    wild = Wild.read(user_path(args.data))
    root = Settings.load().root / "evals"
    with graph_of(wild, root / "wild", Options(root)) as store:
        weights, recall = learnt(lessons(wild, store))
    write_bytes(args.out, (json.dumps(weights, indent=1) + "\n").encode())
    print(json.dumps(recall, indent=1))


if __name__ == "__main__":
    main()
