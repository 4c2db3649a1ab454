"""Isotropic merging: a merged spectrum in which every direction counts the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .method import Params, register
from .span import SpanMethod, orthogonalized, significant

if TYPE_CHECKING:
    from torch import Tensor


class IsoParams(Params):
    scale: float = 1.0
    """The paper's alpha, applied to the result."""


@register
class IsoC(SpanMethod[IsoParams]):
    """Isotropic merging in the common subspace (Marczak et al. 2025, algorithm 1).

    ``sum_i w_i dW_i = U diag(s) Vᵀ`` becomes ``alpha mean(s) U Vᵀ``. The mean is over the directions that the sum has:
    for full-rank experts all of them, as in the paper; for LoRAs those of their span, as nothing tells one direction
    outside of it from another.
    """

    name = "iso_c"
    reference_url = "https://arxiv.org/abs/2502.04959"
    Params: ClassVar[type[Params]] = IsoParams

    def merge_cores(self, cores: Tensor, full_rank: int) -> Tensor:
        return isotropic(cores.sum(dim=-3)) * self.params.scale


class IsoCtsParams(IsoParams):
    common: float = Field(default=0.8, gt=0.0, le=1.0)
    """The paper's k / r: share of the directions that is taken from the sum; the experts' own fill the rest."""


@register
class IsoCts(SpanMethod[IsoCtsParams]):
    """Isotropic merging in common and task-specific subspaces (Marczak et al. 2025, algorithm 2)::

        sum_i w_i dW_i = U S Vᵀ, of rank r;          the k strongest directions are common
        dW_i - U_k U_kᵀ dW_i = U_i S_i V_iᵀ,         the s = (r - k) / n strongest are expert i's own
        dW = alpha mean(S_k, S_1, …, S_n) U' V'ᵀ     with U' and V' nearest orthonormal to [U_k U_1 … U_n], [V_k V_1 …]

    s is rounded to the nearest integer and k is what is left. The rank r is that of the sum (see `IsoC`).
    """

    name = "iso_cts"
    reference_url = "https://arxiv.org/abs/2502.04959"
    Params: ClassVar[type[Params]] = IsoCtsParams

    def merge_cores(self, cores: Tensor, full_rank: int) -> Tensor:
        import torch

        count = cores.shape[-3]
        u, s, vh = torch.linalg.svd(cores.sum(dim=-3), full_matrices=False)
        index = torch.arange(s.shape[-1], device=s.device)
        rank = significant(s).sum(dim=-1, keepdim=True)
        own = ((rank - (self.params.common * rank).floor()) / count).round().minimum(rank // count)
        common = index < rank - count * own
        u_common = u * common[..., None, :]
        rest = cores - (u_common @ u_common.mT).unsqueeze(-3) @ cores
        u_own, s_own, vh_own = torch.linalg.svd(rest, full_matrices=False)
        chosen = (index < own)[..., None, :] & significant(s_own, s[..., None, :1])
        left = _beside(u_common, u_own * chosen[..., None, :])
        right = _beside(vh.mT * common[..., None, :], vh_own.mT * chosen[..., None, :])
        total = (s * common).sum(dim=-1) + (s_own * chosen).sum(dim=(-2, -1))
        number = (common.sum(dim=-1) + chosen.sum(dim=(-2, -1))).clamp(min=1)
        return orthogonalized(left) @ orthogonalized(right).mT * (self.params.scale * total / number)[..., None, None]


def isotropic(core: Tensor) -> Tensor:
    """(…, p, q) with all of its singular values that are not 0 replaced by their mean."""
    import torch

    u, s, vh = torch.linalg.svd(core, full_matrices=False)
    real = significant(s)
    mean = (s * real).sum(dim=-1, keepdim=True) / real.sum(dim=-1, keepdim=True).clamp(min=1)
    return (u * (real * mean)[..., None, :]) @ vh


def _beside(common: Tensor, own: Tensor) -> Tensor:
    """(…, p, k) and (…, n, p, l) -> (…, p, k + n l)."""
    import torch

    return torch.cat([common, own.movedim(-3, -2).flatten(-2)], dim=-1)
