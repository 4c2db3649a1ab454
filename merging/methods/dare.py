"""DARE: drop values at random and rescale the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .method import Params, register
from .sparse import SparseMethod, SparseParams

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class DareParams(SparseParams):
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """Chance that a value stays: 1 - p, for the paper's drop rate p."""
    rescale: bool = True
    """Divide what stays by the density, so that each value keeps its expectation."""
    seed: int = Field(default=0, ge=0)
    """Another seed, other values."""


@register
class Dare(SparseMethod[DareParams]):
    """Yu et al. 2023, eq. 2: ``m ~ Bernoulli(p), d~ = (1 - m) * d, d^ = d~ / (1 - p)``, then summed.

    With ``consensus=none`` it is DARE-linear; with ``consensus=total, divide=count`` DARE-TIES without a second trim,
    and with ``consensus=weighted, divide=weights`` what mergekit calls dare_ties. What stays of an expert at a target
    depends on the seed, the parameters, the expert and the target alone.
    """

    name = "dare"
    reference_url = "https://arxiv.org/abs/2311.03099"
    seeded = True
    Params: ClassVar[type[Params]] = DareParams

    def thin(self, matrix: Tensor, generator: torch.Generator) -> Tensor:
        import torch

        p = self.params
        stays = (torch.rand(matrix.shape, generator=generator) < p.density).to(matrix.device)
        return matrix * stays / p.density if p.rescale else matrix * stays
