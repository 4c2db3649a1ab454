"""TSV-Merge: decorrelate the singular vectors of the experts before summing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .method import Params, register
from .span import SpanMethod, orthogonalized, significant

if TYPE_CHECKING:
    from torch import Tensor


class TsvParams(Params):
    keep: int | None = Field(default=None, ge=1)
    """Singular vectors to keep of each expert, the strongest. None is the paper's 1/n of the full rank, min(rows,
    columns) // n, which cuts full-rank experts and leaves most LoRAs whole."""
    scale: float = 1.0
    """The paper's alpha, applied to the result."""


@register
class TsvM(SpanMethod[TsvParams]):
    """Gargiulo et al. 2024, algorithm 1 (TSV-M)::

        w_i dW_i = U_i S_i V_iᵀ, cut to k;   U = [U_1 … U_n], V = [V_1 … V_n], S = diag(S_1, …, S_n)
        dW = alpha U' S V'ᵀ,   with U' and V' the nearest orthonormal matrices to U and V

    Experts that use different directions are summed as they are; those that share directions are pulled apart. Equal
    experts, whose vectors cannot be made orthonormal, give their mean (see `orthogonalized`). Singular vectors that
    belong to a singular value of 0 are arbitrary and take no part.
    """

    name = "tsv_m"
    reference_url = "https://arxiv.org/abs/2412.00081"
    Params: ClassVar[type[Params]] = TsvParams

    def merge_cores(self, cores: Tensor, full_rank: int) -> Tensor:
        keep = self.params.keep or max(1, full_rank // cores.shape[-3])
        return tsv(cores, keep) * self.params.scale


def tsv(cores: Tensor, keep: int) -> Tensor:
    """TSV-M of (…, n, p, q) -> (…, p, q), with ``keep`` singular vectors of each."""
    import torch

    u, s, vh = torch.linalg.svd(cores, full_matrices=False)
    u, s, vh = u[..., :keep], s[..., :keep], vh[..., :keep, :]
    real = significant(s)
    u, vh = u * real[..., None, :], vh * real[..., :, None]
    u = orthogonalized(u.movedim(-3, -2).flatten(-2))
    v = orthogonalized(vh.mT.movedim(-3, -2).flatten(-2))
    return (u * s.flatten(-2)[..., None, :]) @ v.mT
