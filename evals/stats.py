"""Statistics of paired comparisons over prompts: bootstrap intervals, sign-flip permutation tests, Holm's correction.

The unit is the prompt: seeds of one prompt are averaged first, since they are not independent draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..scoring.request import harmonic_mean

__all__ = ["Estimate", "bootstrap", "by_item", "harmonic_mean", "holm", "paired_permutation"]


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
    """Percentile bootstrap of the mean (Efron 1979), by scipy. Raises ValueError for no values."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("there is nothing to average")
    if data.size == 1:
        return Estimate(float(data[0]), float(data[0]), float(data[0]), 1)
    found = _scipy_stats().bootstrap(
        (data,), np.mean, n_resamples=draws, batch=1000, confidence_level=level, method="percentile", rng=seed
    )
    low, high = found.confidence_interval
    mean = float(data.mean())
    return Estimate(mean, min(float(low), mean), max(float(high), mean), int(data.size))


def paired_permutation(a: Sequence[float], b: Sequence[float], *, draws: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value that ``a`` and ``b`` (same prompts, same order) have the same mean, by flipping signs.

    By scipy: exact for few differing prompts (14 at 20,000 draws); else Monte Carlo with the observed pattern counted
    in, so it is never 0.

    Raises ValueError if the lengths differ or are 0.
    """
    if len(a) != len(b) or not a:
        raise ValueError("a paired test needs two equally long, non-empty lists")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    difference = difference[difference != 0.0]
    if difference.size < 2:
        return 1.0  # both signs of one difference are as far out
    found = _scipy_stats().permutation_test(
        (difference,), _size_of_sum, permutation_type="samples", n_resamples=draws, batch=1000, alternative="greater",
        rng=seed,
    )  # fmt: skip
    return float(found.pvalue)


def _size_of_sum(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """How far the sum is from 0, on either side."""
    size: NDArray[np.float64] = np.abs(values.sum(axis))
    return size


def _scipy_stats() -> Any:
    """scipy.stats, which only evaluations need. Raises UserError if it is not installed."""
    try:
        from scipy import stats
    except ImportError as error:
        raise UserError("Evaluations need scipy. Install it: pip install 'diffgraph[evals]'.") from error
    return stats


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment (1979) of a family of p-values, keys kept in order."""
    order = sorted(p_values, key=lambda k: p_values[k])
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, key in enumerate(order):
        running = max(running, min(1.0, p_values[key] * (len(order) - rank)))
        adjusted[key] = running
    return {key: adjusted[key] for key in p_values}
