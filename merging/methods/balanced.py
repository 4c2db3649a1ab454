"""Magnitude-balanced sum: no expert drowns the others merely because it was trained harder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .method import MergeMethod, Params, Part, Whole, register

if TYPE_CHECKING:
    from ..deltas.delta import Delta


class BalancedParams(Params):
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """0 is the plain sum, 1 gives all experts the reference norm."""
    reference: Literal["geometric_mean", "mean", "min", "max", "subject", "style", "background"] = "geometric_mean"
    """The norm to balance to. A facet means the geometric mean over that facet's experts (over all if it has none)."""
    scope: Literal["module", "expert"] = "module"
    """``module``: balance target by target; ``expert``: one factor an expert, from its norm over all targets."""
    limit: float = Field(default=4.0, ge=1.0)
    """No factor leaves [1/limit, limit], so a module that an expert hardly touches is not blown up into noise."""


@register
class MagnitudeBalanced(MergeMethod[BalancedParams]):
    """``dW = sum_i w_i s_i dW_i`` with ``s_i = clamp((n_ref / n_i) ** strength, 1/limit, limit)``.

    n_i is the Frobenius norm of expert i's unweighted delta, at this target or over all of them (``scope``), and n_ref
    the reference over the experts. Weights then mean shares of effect: two experts of weight 1 push equally hard.
    K-LoRA balances style against content globally, by sums of magnitudes; ``scope=expert, reference=subject`` does
    that by norms. Norms come from the factors (Gram matrices), never from a full-size matrix.
    """

    name = "magnitude_balanced"
    reference_url = "https://arxiv.org/abs/2502.18461"
    low_rank = True
    Params: ClassVar[type[Params]] = BalancedParams

    def weights(self, experts: Sequence[Whole]) -> list[float]:
        given = [expert.weight for expert in experts]
        if self.params.scope == "module" or len(experts) < 2:
            return given
        factors = self.factors([expert.norm() for expert in experts], [expert.facet for expert in experts])
        return [weight * factor for weight, factor in zip(given, factors, strict=True)]

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        from ..deltas.delta import add

        weights = [part.weight for part in parts]
        if self.params.scope == "module":
            factors = self.factors([part.delta.norm() for part in parts], [part.facet for part in parts])
            weights = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
        return add([part.delta for part in parts], weights)

    def factors(self, norms: Sequence[float], facets: Sequence[str]) -> list[float]:
        """s_i for the given norms n_i; experts of norm 0 count for nothing and keep factor 1."""
        p = self.params
        present = [norm for norm in norms if norm > 0.0]
        if len(present) < 2 or p.strength == 0.0:
            return [1.0] * len(norms)
        match p.reference:
            case "mean":
                reference = math.fsum(present) / len(present)
            case "min":
                reference = min(present)
            case "max":
                reference = max(present)
            case facet:
                own = [n for n, f in zip(norms, facets, strict=True) if f == facet and n > 0.0] or present
                reference = math.exp(math.fsum(map(math.log, own)) / len(own))
        low, high = 1.0 / p.limit, p.limit
        return [min(high, max(low, (reference / n) ** p.strength)) if n > 0.0 else 1.0 for n in norms]
