"""One score from all evidence, by weights learnt from recipes of people; and from scores the chance of being wanted.

Scores are a linear model over `evidence.ALL_COLUMNS`, fitted so that of all candidates of a prompt the experts that a
person took stand first (softmax over the candidates). `weights.json` holds numbers only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from .evidence import ALL_COLUMNS, COLUMNS, compared

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """mean, spread and weight of each of `ALL_COLUMNS`; then those of the chance: constant, score, lead, certainty."""

    mean: Rows
    spread: Rows
    weight: Rows
    chance: Rows


@cache
def learnt() -> Weights:
    """The weights that ship."""
    read = json.loads((resources.files(__package__) / "weights.json").read_text(encoding="utf-8"))
    columns = read["columns"]
    mean, spread, weight = (np.array([columns[name][i] for name in ALL_COLUMNS]) for i in range(3))
    return Weights(mean, spread, weight, np.array(read["chance"]))


def scores(rows: Rows, weights: Weights | None = None) -> Rows:
    """(experts,) from (experts, `evidence.COLUMNS`)."""
    w = weights or learnt()
    found: Rows = (compared(rows) - w.mean) / w.spread @ w.weight
    return found


def chances(rows: Rows, scored: Rows, weights: Weights | None = None) -> Rows:
    """How likely each candidate is wanted: by its own evidence and by how it stands against the others, 0..1."""
    w = weights or learnt()
    found: Rows = 1 / (1 + np.exp(-(chance_columns(rows, scored) @ w.chance)))
    return found


def chance_columns(rows: Rows, scored: Rows) -> Rows:
    """(experts, 5): 1, the score, log of its softmax share, how much its words weigh, its meaning."""
    share = scored - scored.max() - np.log(np.exp(scored - scored.max()).sum())
    at = COLUMNS.index
    return np.column_stack([np.ones(len(scored)), scored, share, np.log1p(rows[:, at("says")]), rows[:, at("alike")]])
