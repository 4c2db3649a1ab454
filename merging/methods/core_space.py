"""Core Space: merge the small matrices that the experts are in one common pair of bases."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .iso import isotropic
from .method import Params, register
from .span import SpanMethod, significant
from .ties import Divide, Vote, disjoint, trim
from .tsv import tsv

if TYPE_CHECKING:
    from torch import Tensor


class CoreSpaceParams(Params):
    inner: Literal["ties", "tsv_m", "iso_c", "linear"] = "ties"
    """How the core matrices are merged. ``linear`` equals the plain sum, as the projection is lossless, and ``iso_c``
    equals `iso_c`; ``tsv_m`` keeps 1/n of the core's rank of each expert."""
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """For ``ties``: share of each core's values that survive the trim."""
    vote: Vote = "total"
    divide: Divide = "count"
    scale: float = 1.0
    """A factor on the result."""


@register
class CoreSpace(SpanMethod[CoreSpaceParams]):
    """Panariello et al. 2025, section 3::

        [B_1 … B_n] = U S Rᵀ,   [A_1; …; A_n] = L T Vᵀ,   M_i = Uᵀ B_i A_i V,   dW = U merge(M_1, …, M_n) Vᵀ

    The bases depend on how a delta is split between its factors, which is an accident of training and unknown for
    experts that are no LoRAs. So the balanced split of the weighted deltas is used, ``B_i = P sqrt(D)``, ``A_i =
    sqrt(D) Qᵀ`` of their SVD: the result is a function of the deltas alone.
    """

    name = "core_space"
    double = True
    reference_url = "https://arxiv.org/abs/2509.17786"
    Params: ClassVar[type[Params]] = CoreSpaceParams

    def merge_cores(self, cores: Tensor, full_rank: int) -> Tensor:
        import torch

        p, d, qh = torch.linalg.svd(cores, full_matrices=False)
        root = (d * significant(d)).sqrt()
        u, left, _ = torch.linalg.svd((p * root[..., None, :]).movedim(-3, -2).flatten(-2), full_matrices=False)
        v, right, _ = torch.linalg.svd((qh.mT * root[..., None, :]).movedim(-3, -2).flatten(-2), full_matrices=False)
        out = []
        for index, some in enumerate(cores):  # the rank, and so the size of the core, may differ from target to target
            u_ref = u[index][:, : max(1, int(significant(left[index]).sum()))]
            v_ref = v[index][:, : max(1, int(significant(right[index]).sum()))]
            out.append(u_ref @ self._inner(u_ref.mT @ some @ v_ref) @ v_ref.mT)
        return torch.stack(out) * self.params.scale

    def _inner(self, cores: Tensor) -> Tensor:
        """(n, a, b) -> (a, b)."""
        import torch

        p = self.params
        match p.inner:
            case "ties":
                trimmed = [trim(core.to(torch.float32), p.density) for core in cores]
                return disjoint(trimmed, [1.0] * len(cores), p.vote, p.divide).to(cores.dtype)
            case "tsv_m":
                return tsv(cores, max(1, min(cores.shape[-2:]) // len(cores)))
            case "iso_c":
                return isotropic(cores.sum(dim=0))
            case "linear":
                return cores.sum(dim=0)
