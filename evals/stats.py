"""Statistics of paired comparisons over prompts: bootstrap intervals, sign-flip permutation tests, Holm's correction.

The unit is the prompt: seeds of one prompt are averaged first, since they are not independent draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..scoring.request import harmonic_mean

__all__ = ["Estimate", "bootstrap", "by_item", "harmonic_mean", "holm", "paired_permutation"]

_EXACT = 14
"""Up to so many non-zero differences all sign patterns are counted instead of drawn."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval; ``n`` prompts."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def by_item(rows: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Mean value per item of (item, value) rows, in order of first appearance."""
    groups: dict[str, list[float]] = {}
    for item, value in rows:
        groups.setdefault(item, []).append(value)
    return {item: float(np.mean(values)) for item, values in groups.items()}


def bootstrap(values: Sequence[float], *, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Estimate:
    """Percentile bootstrap of the mean (Efron 1979). Raises ValueError for no values."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("there is nothing to average")
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [data[rng.integers(0, data.size, (min(1000, draws - i), data.size))].mean(1) for i in range(0, draws, 1000)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = float(data.mean())
    return Estimate(mean, min(float(low), mean), max(float(high), mean), int(data.size))


def paired_permutation(a: Sequence[float], b: Sequence[float], *, draws: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value that ``a`` and ``b`` (same prompts, same order) have the same mean, by flipping signs.

    Exact for few differing prompts; else Monte Carlo with the observed pattern counted in, so it is never 0.
    Raises ValueError if the lengths differ or are 0.
    """
    if len(a) != len(b) or not a:
        raise ValueError("a paired test needs two equally long, non-empty lists")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    difference = difference[difference != 0.0]
    if difference.size == 0:
        return 1.0
    seen = abs(difference.sum()) - 1e-9
    if difference.size <= _EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=difference.size)))
        return float((np.abs(signs @ difference) >= seen).mean())
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, (draws, difference.size)) * 2.0 - 1.0
    return float(((np.abs(signs @ difference) >= seen).sum() + 1) / (draws + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment (1979) of a family of p-values, keys kept in order."""
    order = sorted(p_values, key=lambda k: p_values[k])
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, key in enumerate(order):
        running = max(running, min(1.0, p_values[key] * (len(order) - rank)))
        adjusted[key] = running
    return {key: adjusted[key] for key in p_values}
