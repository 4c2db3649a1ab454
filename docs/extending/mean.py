"""A merge method: the mean of the weighted deltas."""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.merging.deltas.delta import Delta, add
from diffgraph.merging.methods.method import MergeMethod, Params, Part, register


@register
class Mean(MergeMethod[Params]):
    """``dW = 1/n sum_i w_i dW_i`` over the n experts at a target."""

    name = "mean"
    reference_url = "https://arxiv.org/abs/2203.05482"
    low_rank = True  # a weighted sum of factors is made of factors: no full matrix, which `plan --check` prices

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        return add([part.delta for part in parts], [part.weight / len(parts) for part in parts])
