"""TIES-Merging: trim, elect a sign per value, average those that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .method import MergeMethod, Params, Part, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta

Vote = Literal["total", "frequency", "weighted"]
"""How a sign is elected. ``total``: by sum of values (the paper, PEFT); ``frequency``: by number of values (PEFT);
``weighted``: by sum of weighted values (mergekit's "sum"). A draw elects plus, as in PEFT and mergekit."""
Divide = Literal["count", "weights", "none"]
"""What the sum of the values that agree is divided by. ``count``: their number (the paper's disjoint mean, PEFT);
``weights``: the sum of their absolute weights (mergekit's ``normalize``); ``none``: nothing."""


class TiesParams(Params):
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of each delta's values that survive the trim, the largest by magnitude, per target."""
    vote: Vote = "total"
    """How a sign is elected; see `Vote`. With ``divide=weights``, ``weighted`` is mergekit's TIES."""
    divide: Divide = "count"
    """What the sum of agreeing values is divided by; see `Divide`."""
    scale: float = 1.0
    """The paper's lambda, applied to the result."""


@register
class Ties(MergeMethod[TiesParams]):
    """Yadav et al. 2023, algorithm 1; weights multiply the values after the vote (PEFT), save for ``vote=weighted``."""

    name = "ties"
    reference_url = "https://arxiv.org/abs/2306.01708"
    Params: ClassVar[type[Params]] = TiesParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        from ..deltas.delta import Delta

        p = self.params
        values = [trim(part.delta.matrix(), p.density) for part in parts]
        merged = disjoint(values, [part.weight for part in parts], p.vote, p.divide)
        return Delta(parts[0].delta.shape, full=merged.mul_(p.scale))


def disjoint(values: Sequence[Tensor], weights: Sequence[float], vote: Vote, divide: Divide) -> Tensor:
    """Sum of the weighted values whose sign is the elected one, divided as asked. TIES, algorithm 1, steps 2 and 3.

    Args:
        values: tensors of one shape, unweighted.
        weights: a weight each; under ``vote=weighted`` a negative one turns its values round before they are counted.

    Returns:
        A new tensor of that shape.
    """
    import torch

    ballots = torch.zeros_like(values[0])
    for value, weight in zip(values, weights, strict=True):
        ballots += value.sign() if vote == "frequency" else value * (weight if vote == "weighted" else 1.0)
    elected = (ballots >= 0).to(torch.float32) * 2 - 1
    total, count = torch.zeros_like(ballots), torch.zeros_like(ballots)
    for value, weight in zip(values, weights, strict=True):
        side = -1.0 if vote == "weighted" and weight < 0 else 1.0
        agrees = (value * elected * side > 0).to(torch.float32)
        total.addcmul_(value, agrees, value=weight)
        count += agrees if divide == "count" else abs(weight) * agrees
    if divide != "none":
        total /= torch.where(count > 0, count, 1.0)  # where none agrees the sum is 0 already
    return total


def trim(matrix: Tensor, density: float) -> Tensor:
    """Zero all but the ``int(density * n)`` (at least 1) values of largest magnitude; equals of the last one stay."""
    keep = max(1, int(density * matrix.numel()))
    if keep == matrix.numel():
        return matrix
    magnitude = matrix.abs()
    return matrix * (magnitude >= order_statistic(magnitude, matrix.numel() - keep))


def order_statistic(values: Tensor, index: int) -> float:
    """The value at ``index`` (from 0) when ``values`` are sorted ascending."""
    import numpy as np

    if values.device.type == "cpu":  # numpy selects in under half of torch's time, and the same value
        return float(np.partition(values.flatten().numpy(), index)[index])
    return float(values.flatten().kthvalue(index + 1).values)
