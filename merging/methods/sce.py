"""SCE: select where experts differ, calculate a coefficient each, erase the minority's signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .method import MergeMethod, Params, Part, register
from .ties import order_statistic

if TYPE_CHECKING:
    from ..deltas.delta import Delta


class SceParams(Params):
    select: float = Field(default=1.0, gt=0.0, le=1.0)
    """The paper's tau: share of the values to keep, those whose variance over the experts is largest."""
    divide: bool = False
    """Divide each value by the sum of the coefficients that agree there, as mergekit does; the paper only sums."""


@register
class Sce(MergeMethod[SceParams]):
    """Wan et al. 2024 (FuseChat), section 3.3, on task vectors d_i, per target::

        select     keep the share tau of values with the largest variance over i:    d^_i
        calculate  eta_i = sum(d^_i ** 2) / sum_j sum(d^_j ** 2)
        erase      drop the values whose sign is not that of sum_j w_j d^_j:         d'_i   (a draw elects plus)
        merge      dW = sum_i w_i eta_i d'_i

    Selection and coefficients see the experts unweighted; the plan's weights enter with the signs. For several
    experts it is a mean, not a sum: k equal experts of weight 1 give that expert.
    """

    name = "sce"
    reference_url = "https://arxiv.org/abs/2408.07990"
    Params: ClassVar[type[Params]] = SceParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        import torch

        from ..deltas.delta import Delta

        values = torch.stack([part.delta.matrix() for part in parts])
        weights = torch.tensor([part.weight for part in parts], device=values.device)[:, None, None]
        spread = values.var(dim=0, correction=0)
        keep = max(1, int(self.params.select * spread.numel()))
        if keep < spread.numel():
            values = values * (spread >= order_statistic(spread, spread.numel() - keep))
        energy = values.square().sum(dim=(1, 2), keepdim=True)
        coefficients = energy / energy.sum().clamp(min=torch.finfo(torch.float32).tiny)
        weighted = weights * values
        elected = (weighted.sum(dim=0) >= 0).to(torch.float32) * 2 - 1
        agrees = weighted * elected > 0
        total = (coefficients * weighted * agrees).sum(dim=0)
        if self.params.divide:
            share = (coefficients * agrees).sum(dim=0)
            total = total / torch.where(share > 0, share, 1.0)
        return Delta(parts[0].delta.shape, full=total)
