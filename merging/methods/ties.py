"""TIES-Merging: trim, elect a sign per value, average those that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .registry import MergeMethod, Params, Part, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..delta import Delta


class TiesParams(Params):
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of each delta's values that survive the trim, the largest by magnitude, per target."""
    vote: Literal["total", "frequency", "weighted"] = "total"
    """How a sign is elected. ``total``: by sum of trimmed values (the paper, PEFT); ``frequency``: by number of values
    (PEFT); ``weighted``: by weighted sum (mergekit). A draw elects plus, as in PEFT."""
    average: bool = True
    """Divide by the number of values that agree (the paper's disjoint mean), or just sum them."""
    scale: float = 1.0
    """The paper's lambda, applied to the result."""


@register
class Ties(MergeMethod[TiesParams]):
    """Yadav et al. 2023, algorithm 1; weights multiply the values after the vote (PEFT), save for ``vote=weighted``."""

    name = "ties"
    reference_url = "https://arxiv.org/abs/2306.01708"
    Params: ClassVar[type[Params]] = TiesParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        import torch

        from ..delta import Delta

        p = self.params
        values = [trim(part.delta.matrix(), p.density) for part in parts]
        ballots = torch.zeros_like(values[0])
        for part, value in zip(parts, values, strict=True):
            ballots += value.sign() if p.vote == "frequency" else value * (part.weight if p.vote == "weighted" else 1.0)
        elected = (ballots >= 0).to(torch.float32) * 2 - 1
        total, count = torch.zeros_like(ballots), torch.zeros_like(ballots)
        for part, value in zip(parts, values, strict=True):
            # Under a weighted vote a negative weight turns the value round before it is counted.
            side = -1.0 if p.vote == "weighted" and part.weight < 0 else 1.0
            agrees = (value * elected * side > 0).to(torch.float32)
            total.addcmul_(value, agrees, value=part.weight)
            count += agrees
        if p.average:
            total /= count.clamp_(min=1)
        return Delta(parts[0].delta.shape, full=total.mul_(p.scale))


def trim(matrix: Tensor, density: float) -> Tensor:
    """Zero all but the ``int(density * n)`` (at least 1) values of largest magnitude; equals of the last one stay."""
    import numpy as np

    keep = max(1, int(density * matrix.numel()))
    if keep == matrix.numel():
        return matrix
    magnitude = matrix.abs()
    drop = matrix.numel() - keep
    if matrix.device.type == "cpu":  # numpy selects in under half of torch's time, and the same value
        threshold = float(np.partition(magnitude.flatten().numpy(), drop)[drop])
    else:
        threshold = float(magnitude.flatten().kthvalue(drop + 1).values)
    return matrix * (magnitude >= threshold)
