"""How good yes/no answers with probabilities are: AUROC with its interval, calibration, wrong yes-es; and choices.

The unit of every interval is the prompt: answers about images of one prompt are no independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..stats import Estimate, bootstrap, by_item
from .items import Frozen

BINS = 10
YES = 0.5
TRUE_YES = 0.9
_DRAWS = 1000
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """One answer: the probability that a critic gave a text, and whether the image shows it."""

    item: str
    p: float
    true: bool


class Figures(Frozen):
    """What answers are worth; None where it takes both right and wrong texts and there are only the ones or the others.

    Attributes:
        auroc: chance that a text which is shown gets a higher probability than one which is not; ties count half.
        low, high: its 95 % bootstrap interval over prompts.
        ece: expected calibration error over `BINS` bins of equal count: |mean probability - share shown|, averaged.
        n: answers.
        shown: share of them whose text the image shows.
        false_yes: share of what is not shown that gets `YES` or more.
        false_yes_at_90: the same at the highest threshold that passes `TRUE_YES` of what is shown.
    """

    auroc: float | None
    low: float | None
    high: float | None
    ece: float
    n: int
    shown: float
    false_yes: float | None
    false_yes_at_90: float | None


def figures(said: Sequence[Said]) -> Figures | None:
    """The figures of some answers; None for none."""
    if not said:
        return None
    p = np.asarray([s.p for s in said], np.float64)
    true = np.asarray([s.true for s in said], np.bool_)
    low, high = auroc_interval(p, true, [s.item for s in said])
    return Figures(
        auroc=_round(auroc(p, true)),
        low=_round(low),
        high=_round(high),
        ece=round(ece(p, true), 4),
        n=len(said),
        shown=round(float(true.mean()), 4),
        false_yes=_round(_share(p[~true], YES)),
        false_yes_at_90=_round(_share(p[~true], _threshold(p[true]))) if true.any() else None,
    )


def auroc(p: Numbers, true: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve, which is Mann and Whitney's U over the number of pairs; None without both classes."""
    ranks = np.unique(p, return_inverse=True)[1]
    return _auroc(ranks, true, np.ones(len(p)))


def _auroc(ranks: NDArray[np.intp], true: NDArray[np.bool_], weights: Numbers) -> float | None:
    right = np.bincount(ranks, weights * true)
    wrong = np.bincount(ranks, weights * ~true)
    pairs = right.sum() * wrong.sum()
    return float((right * (wrong.cumsum() - wrong / 2)).sum() / pairs) if pairs else None


def auroc_interval(p: Numbers, true: NDArray[np.bool_], items: Sequence[str]) -> tuple[float | None, float | None]:
    """The 95 % percentile bootstrap interval of the AUROC, prompts drawn with replacement."""
    ranks = np.unique(p, return_inverse=True)[1]
    of = np.unique(np.asarray(items), return_inverse=True)[1]
    prompts = int(of.max()) + 1
    counts = np.random.default_rng(0).multinomial(prompts, np.full(prompts, 1 / prompts), size=_DRAWS)
    drawn = [a for weights in counts if (a := _auroc(ranks, true, weights[of].astype(np.float64))) is not None]
    if not drawn:
        return None, None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def ece(p: Numbers, true: NDArray[np.bool_]) -> float:
    """Expected calibration error over bins of equal count (Nguyen and O'Connor 2015)."""
    order = np.argsort(p, kind="stable")
    bins = [b for b in np.array_split(order, BINS) if b.size]
    return float(sum(abs(p[b].mean() - true[b].mean()) * b.size for b in bins) / p.size)


def _threshold(shown: Numbers) -> float:
    """The highest probability that at least `TRUE_YES` of these reach."""
    return float(np.sort(shown)[::-1][int(np.ceil(TRUE_YES * shown.size)) - 1])


def _share(p: Numbers, threshold: float) -> float | None:
    return float((p >= threshold).mean()) if p.size else None


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def choices(right: Sequence[tuple[str, float]]) -> Estimate | None:
    """Share of right forced choices, (prompt, 1 right, 0 wrong, 0.5 undecided) each; None for none."""
    return bootstrap(list(by_item(right).values())) if right else None
