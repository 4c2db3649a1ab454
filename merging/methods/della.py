"""DELLA: drop values at random, small ones more likely, then elect signs and average."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from .method import Params, register
from .sparse import SparseMethod, SparseParams
from .ties import Divide

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class DellaParams(SparseParams):
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """Mean chance that a value stays: 1 - p, for the paper's drop rate p."""
    window: float = Field(default=0.2, ge=0.0, lt=1.0)
    """The paper's epsilon: chances to be dropped run over [p - window/2, p + window/2]."""
    seed: int = Field(default=0, ge=0)
    """Another seed, other values."""
    consensus: Literal["none", "total", "frequency", "weighted"] = "total"
    divide: Divide = "count"

    @model_validator(mode="after")
    def _chances(self) -> DellaParams:
        drop, half = 1.0 - self.density, self.window / 2
        if self.window and not (half <= drop + 1e-12 and drop + half < 1.0):
            raise ValueError("density +- window/2 must stay within (0, 1]")
        return self


@register
class Della(SparseMethod[DellaParams]):
    """MAGPRUNE and TIES' last two steps (Deep et al. 2024, section 3).

    In each row of n values, ranked by magnitude from r = 0 for the largest to n - 1, value r is dropped with chance
    ``p_r = p - eps/2 + eps r / n`` and divided by ``1 - p_r`` if it stays. A bias counts as one row. Signs are then
    elected by sum and agreeing values averaged; ``consensus=none`` gives the plain sum (mergekit's della_linear).
    """

    name = "della"
    reference_url = "https://arxiv.org/abs/2406.11617"
    seeded = True
    Params: ClassVar[type[Params]] = DellaParams

    def thin(self, matrix: Tensor, generator: torch.Generator) -> Tensor:
        import torch

        rows = matrix.T if matrix.shape[1] == 1 else matrix
        keep = 1.0 - drop_chances(rows, 1.0 - self.params.density, self.params.window)
        stays = torch.rand(rows.shape, generator=generator).to(rows.device) < keep
        thinned = rows * stays / keep
        return thinned.T.contiguous() if matrix.shape[1] == 1 else thinned


def drop_chances(rows: Tensor, drop: float, window: float) -> Tensor:
    """``p_r = drop - window/2 + window r / n`` for every value of (rows, n), r its rank by magnitude in its row."""
    import torch

    # Sorted twice: where each value stands among the magnitudes of its row. Stable, so equal values rank as they come.
    order = rows.abs().argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(rows.shape[1], device=rows.device).expand_as(order))
    return drop - window / 2 + window * rank.to(torch.float32) / rows.shape[1]
