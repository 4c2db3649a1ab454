"""What methods that thin out deltas value by value have in common: how the thinned deltas are put together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from .method import MergeMethod, Params, Part, seed_of
from .ties import Divide, disjoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..deltas.delta import Delta


class SparseParams(Params):
    consensus: Literal["none", "total", "frequency", "weighted"] = "none"
    """``none``: a weighted sum of the thinned deltas ("-linear"). Otherwise signs are elected first by that vote of
    TIES, and only values that agree are summed ("-TIES")."""
    divide: Divide = "none"
    """What the values that agree are divided by, as in TIES; only with a consensus."""
    scale: float = 1.0
    """A factor on the result (the papers' lambda or alpha)."""


SP = TypeVar("SP", bound=SparseParams)


class SparseMethod(MergeMethod[SP]):
    """Thin each dense delta by itself, then sum or elect and sum. The result is a full-rank delta."""

    @abstractmethod
    def thin(self, matrix: Tensor, generator: torch.Generator) -> Tensor:
        """The thinned (rows, columns) matrix, as a new tensor or the same. Draws on the CPU, if it draws."""

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        import torch

        from ..deltas.delta import Delta

        p = self.params
        values = []
        for part in parts:
            generator = torch.Generator().manual_seed(seed_of(str(seed), part.key))
            values.append(self.thin(part.delta.matrix(), generator))
        if p.consensus == "none":
            total = torch.zeros_like(values[0])
            for part, value in zip(parts, values, strict=True):
                total.add_(value, alpha=part.weight)
        else:
            total = disjoint(values, [part.weight for part in parts], p.consensus, p.divide)
        return Delta(parts[0].delta.shape, full=total.mul_(p.scale))
