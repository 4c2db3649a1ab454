"""Pruning by magnitude: keep the large values, or the middle ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from .method import Params, register
from .sparse import SparseMethod, SparseParams
from .ties import order_statistic, trim

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class PruneParams(SparseParams):
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of each delta's values that stay, the largest by magnitude, per target."""


@register
class MagnitudePrune(SparseMethod[PruneParams]):
    """The weighted sum of deltas trimmed to their largest values: step 1 of TIES (Yadav et al. 2023) alone.

    PEFT calls this combination type "magnitude_prune".
    """

    name = "magnitude_prune"
    reference_url = "https://arxiv.org/abs/2306.01708"
    Params: ClassVar[type[Params]] = PruneParams

    def thin(self, matrix: Tensor, generator: torch.Generator) -> Tensor:
        return trim(matrix, self.params.density)


class BreadcrumbsParams(SparseParams):
    beta: float = Field(default=0.85, ge=0.0, lt=1.0)
    """Share of each delta's values to take out as noise, the smallest by magnitude, per target."""
    gamma: float = Field(default=0.007, ge=0.0, lt=1.0)
    """Share to take out as outliers, the largest."""

    @model_validator(mode="after")
    def _some_stay(self) -> BreadcrumbsParams:
        if self.beta + self.gamma >= 1.0:
            raise ValueError("beta and gamma together leave no value")
        return self


@register
class Breadcrumbs(SparseMethod[BreadcrumbsParams]):
    """Model Breadcrumbs (Davari and Belilovsky 2023, eq. 3): ``alpha * sum_i w_i (m_i * d_i)``, both tails masked.

    Of n values the ``int(beta n)`` smallest and the ``int(gamma n)`` largest go, equals of the last that stays stay.
    mergekit's parameters are ``density = 1 - beta - gamma`` and the same gamma.
    """

    name = "breadcrumbs"
    reference_url = "https://arxiv.org/abs/2312.06795"
    Params: ClassVar[type[Params]] = BreadcrumbsParams

    def thin(self, matrix: Tensor, generator: torch.Generator) -> Tensor:
        magnitude, count = matrix.abs(), matrix.numel()
        low = int(self.params.beta * count)
        high = max(low, count - 1 - int(self.params.gamma * count))
        stays = (magnitude >= order_statistic(magnitude, low)) & (magnitude <= order_statistic(magnitude, high))
        return matrix * stays
