"""How much two experts push the same weights the same way, exactly and without forming a full-size matrix."""

from __future__ import annotations

import math

from .expert_delta import ExpertDelta


def inner(a: ExpertDelta, b: ExpertDelta) -> float:
    """``sum over targets of <delta_a, delta_b>`` (Frobenius), by factors: tr((A1 A2ᵀ)(B2ᵀ B1))."""
    return math.fsum(a.deltas[target].inner(b.deltas[target]) for target in set(a.deltas) & set(b.deltas))


def overlap(a: ExpertDelta, b: ExpertDelta) -> float:
    """Cosine of two experts' deltas over all targets, in [-1, 1]; 1 for a copy at any scale, 0 if either does nothing.

    Both must have been read against the same base.
    """
    norms = _norm(a) * _norm(b)
    return max(-1.0, min(1.0, inner(a, b) / norms)) if norms else 0.0


def _norm(expert: ExpertDelta) -> float:
    return math.sqrt(math.fsum(expert.norm(target) ** 2 for target in expert.deltas))
