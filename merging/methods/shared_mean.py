"""Shared-direction mean: what several experts read is averaged, what one alone reads is kept whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .method import MergeMethod, Params, Part, register
from .np_lora import joint_basis, row_space

if TYPE_CHECKING:
    from ..deltas.delta import Delta


class SharedParams(Params):
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """0 is the plain sum; 1 divides a direction that k experts read by k."""


@register
class SharedMean(MergeMethod[SharedParams]):
    """RegMean's normal equations (Jin et al. 2022, eq. 2) with each expert's own row space for its input statistics.

    Asked to act on every expert's inputs as that expert does, in least squares, with P_i the projector on the row
    space of dW_i, the merge is ``(sum w_i dW_i P_i) (sum P_i)^-1``, and dW_i P_i = dW_i. The eigenvalues of sum P_i
    count how many experts read a direction; below 1 the inverse would amplify, so it stops there::

        dW = (sum_i w_i dW_i) U max(p, 1)^-strength Uᵀ,   sum_i P_i = U p Uᵀ

    All in the span of the factors: the rank of the result is the sum of ranks. Biases are summed.
    """

    name = "shared_mean"
    reference_url = "https://arxiv.org/abs/2212.09849"
    low_rank = True
    Params: ClassVar[type[Params]] = SharedParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        import torch

        from ..deltas.delta import Delta, add

        total = add([part.delta for part in parts], [part.weight for part in parts])
        if total.matrix_shape[1] == 1 or self.params.strength == 0.0:
            return total
        bases = [row_space(part.delta) for part in parts]
        span = joint_basis(bases)
        inside = torch.cat([span.T @ basis for basis in bases], dim=1)
        readers, turn = torch.linalg.eigh(inside @ inside.T)
        directions = span @ turn
        taken = 1.0 - readers.clamp(min=1.0) ** -self.params.strength
        down = None if total.down is None else total.down - (total.down @ directions * taken) @ directions.T
        full = None if total.full is None else total.full - (total.full @ directions * taken) @ directions.T
        return Delta(total.shape, total.up, down, full)
