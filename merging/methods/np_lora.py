"""NP-LoRA: keep the content expert out of the inputs that the style expert reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .balanced import BalancedParams, MagnitudeBalanced
from .method import MergeMethod, Params, Part, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta


class NpLoraParams(Params):
    mu: float = Field(default=0.5, ge=0.0)
    """Strength of the projection: 0 is the plain sum; a large value takes the style's row space out entirely."""
    content: tuple[str, ...] = ("subject", "action")
    """Facets whose experts are content and get projected; all other experts are the style side."""
    directions: int | None = Field(default=None, ge=1)
    """Keep only so many principal directions of the style side's experts, each; None keeps their whole row space.
    Set it for a full-rank style expert, which reads every direction there is."""
    balance: float = Field(default=0.0, ge=0.0, le=1.0)
    """Balance norms first, as `magnitude_balanced` does with this strength; 0 is NP-LoRA as published."""


@register
class NpLora(MergeMethod[NpLoraParams]):
    """Null-space projection with the soft projector (Chen et al. 2025).

    A layer computes W x, so what a delta B A reads of its input is spanned by the rows of A, and taking a direction v
    out of it means multiplying on the right: dW (I - v vᵀ). The content delta X is asked to stay near itself and to
    be silent on V, an orthonormal basis of the style side's row space::

        min_X |X - dWc|² + mu |X V|²    =>    X = dWc (I - mu / (1 + mu) V Vᵀ)

    and the merge is ``sum w_s dW_s + sum w_c X_c``. For factors: A_c becomes A_c - mu/(1+mu) (A_c V) Vᵀ, and the rank
    stays. Several style-side experts span one V together. Where one side is absent it is the plain sum, as it is for
    biases, which read no input.
    """

    name = "np_lora"
    reference_url = "https://arxiv.org/abs/2511.11051"
    symmetric = False
    low_rank = True
    Params: ClassVar[type[Params]] = NpLoraParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        from ..deltas.delta import add

        style = [part.delta for part in parts if part.facet not in self.params.content]
        deltas = [part.delta for part in parts]
        weights = [part.weight for part in parts]
        if self.params.balance > 0.0:
            balanced = MagnitudeBalanced(BalancedParams(strength=self.params.balance))
            factors = balanced.factors([delta.norm() for delta in deltas], [part.facet for part in parts])
            weights = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
        if style and len(style) < len(parts) and deltas[0].matrix_shape[1] > 1 and self.params.mu > 0.0:
            basis = joint_basis([row_space(delta, self.params.directions) for delta in style])
            keep = self.params.mu / (1.0 + self.params.mu)
            deltas = [
                silenced(part.delta, basis, keep) if part.facet in self.params.content else part.delta for part in parts
            ]
        return add(deltas, weights)


def row_space(delta: Delta, directions: int | None = None) -> Tensor:
    """Orthonormal basis (columns, k) of the inputs that a delta reads, strongest first: its right singular vectors.

    For factors, with QR(Aᵀ) = Q R and QR(B) = P S: B A = P (S Rᵀ) Qᵀ, so an SVD of the small (r, r) core suffices.
    Directions below 1e-5 of the strongest are rounding and are left out.
    """
    import torch

    if delta.full is None and delta.up is not None and delta.down is not None:
        q, r = torch.linalg.qr(delta.down.T)
        core = torch.linalg.qr(delta.up).R @ r.T
        _, strength, vh = torch.linalg.svd(core, full_matrices=False)
        basis = q @ vh.T
    else:
        _, strength, vh = torch.linalg.svd(delta.matrix(), full_matrices=False)
        basis = vh.T
    count = int((strength > 1e-5 * strength[0]).sum())
    return basis[:, : min(count, directions or count)]


def joint_basis(bases: Sequence[Tensor]) -> Tensor:
    """Orthonormal basis of the sum of subspaces, each given by an orthonormal basis in columns."""
    import torch

    if len(bases) == 1:
        return bases[0]
    u, strength, _ = torch.linalg.svd(torch.cat(list(bases), dim=1), full_matrices=False)
    return u[:, strength > 1e-4]


def silenced(delta: Delta, basis: Tensor, keep: float) -> Delta:
    """``delta (I - keep V Vᵀ)`` with V = ``basis`` (columns, k), rank unchanged."""
    from ..deltas.delta import Delta

    down = None if delta.down is None else delta.down - keep * (delta.down @ basis) @ basis.T
    full = None if delta.full is None else delta.full - keep * (delta.full @ basis) @ basis.T
    return Delta(delta.shape, delta.up, down, full)
