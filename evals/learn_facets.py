"""Learns `graph/experts/words/facet_weights.json` from labelled pages: ``python -m diffgraph.evals.learn_facets --data
FOLDER``.

Prints how often the facet of pages is told that the weights were not learnt from: ten folds. What is written holds
numbers only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files.atomic import write_bytes
from ..graph.embedding import MiniLM
from ..graph.experts.words.facet_by_meaning import cues
from ..settings import user_path
from .suites.wild_data import Wild, labelled
from .suites.wild_facets import as_labelled, given_facet, said_of

Rows = NDArray[np.float64]
FOLDS = 10
MEANING, CUES = 2.0, 0.15
"""How far the vector of what is said and the evened-out cues count in the ridge: many cues are alike."""


def fitted(columns: Rows, kinds: Rows) -> tuple[Rows, Rows]:
    """Softmax regression with a ridge of 1 on the weights.

    Args:
        columns: (pages, columns). kinds: (pages, facets), one-hot.

    Returns:
        Weights (facets, columns) and constants (facets,).
    """
    from scipy.optimize import minimize

    shape = (kinds.shape[1], columns.shape[1] + 1)
    x = np.c_[columns, np.ones(len(columns))]

    def loss(flat: Rows) -> tuple[float, Rows]:
        w = flat.reshape(shape)
        odds = x @ w.T
        odds -= odds.max(1, keepdims=True)
        logs = odds - np.log(np.exp(odds).sum(1, keepdims=True))
        held = np.c_[w[:, :-1], np.zeros(shape[0])]
        return float((held**2).sum() / 2 - (kinds * logs).sum()), (held + (np.exp(logs) - kinds).T @ x).ravel()

    w = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    w = w.reshape(shape)
    return w[:, :-1], w[:, -1]


def learnt(vectors: Rows, signs: Rows, facets: Sequence[str]) -> tuple[dict[str, object], float]:
    """The content of ``facet_weights.json``, and the share of left-out pages whose facet is told.

    Args:
        vectors: (pages, dimensions), what is said of each. signs: (pages, cues). facets: as labelled.
    """
    mean, spread = signs.mean(0), signs.std(0)
    spread[spread < 1e-6] = 1.0
    columns = np.c_[MEANING * vectors, CUES * (signs - mean) / spread]
    names = sorted(set(facets))
    at = np.array([names.index(facet) for facet in facets])
    kinds = np.eye(len(names))[at]
    fold = np.random.RandomState(0).permutation(len(at)) % FOLDS
    told = np.zeros(len(at), dtype=int)
    for k in range(FOLDS):
        w, constant = fitted(columns[fold != k], kinds[fold != k])
        told[fold == k] = (columns[fold == k] @ w.T + constant).argmax(1)
    w, constant = fitted(columns, kinds)
    meaning, on_signs = MEANING * w[:, : vectors.shape[1]], CUES * w[:, vectors.shape[1] :] / spread
    found: dict[str, object] = {
        "facets": [given_facet(name) for name in names],
        "meaning": meaning.round(4).tolist(),
        "cues": on_signs.round(4).tolist(),
        "constant": (constant - on_signs @ mean).round(4).tolist(),
    }
    return found, float((told == at).mean())


def main() -> None:
    """Learn, print the share that is told of pages left out, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of experts.jsonl and recipes*.jsonl")
    parser.add_argument("--out", type=Path, default=Path("facet_weights.json"))
    args = parser.parse_args()
    pages = labelled(Wild.read(user_path(args.data)).pages)
    said = [said_of(page) for page in pages]
    vectors = MiniLM().embed([one.text for one in said]).astype(np.float64)
    signs = np.array([cues(one.title, one.tags, one.triggers, one.description) for one in said])
    weights, share = learnt(vectors, signs, [as_labelled(page) for page in pages])
    write_bytes(args.out, (json.dumps(weights) + "\n").encode())
    print(json.dumps({"pages": len(pages), "left_out_accuracy": round(share, 4)}))


if __name__ == "__main__":
    main()
