"""DoRA: a low-rank update of a weight's direction, and a learnt magnitude: ``W' = m (W + ΔV) / |W + ΔV|``.

The norm is over each row (all inputs of one output), as PEFT's ``lora_magnitude_vector`` and LyCORIS' ``dora_scale`` of
shape (out, 1, …) have it, or over each input channel, as a ``dora_scale`` of shape (1, in, …) says. The canonical delta
is ``W' - W``, so a plan's weight moves along the straight line from the base to the expert
(https://arxiv.org/abs/2402.09353, eq. 5). Works on top of LoRA, LoHa and LoKr.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .algorithm import Module

if TYPE_CHECKING:
    from torch import Tensor


def by_output(module: Module, weight: tuple[int, ...]) -> bool:
    """Is the magnitude one number an output (True) or one an input channel? ExpertError if it is neither."""
    shape, key = module.shape("magnitude"), module.roles["magnitude"]
    ones = math.prod(shape) == max(shape, default=0)
    if "lora_magnitude_vector" in key or len(shape) == 1:
        if ones and math.prod(shape) == weight[0]:
            return True
    elif ones and shape[0] == weight[0]:
        return True
    elif ones and shape[0] == 1 and len(weight) > 1 and shape[1] == weight[1]:
        return False
    raise module.error(f"has a magnitude of shape {shape}, which does not fit a weight of shape {weight}")


def decompose(base: Tensor, update: Tensor, magnitude: Tensor, shape: tuple[int, ...], *, rows: bool) -> Tensor:
    """``m (W + ΔV) / |W + ΔV| - W``.

    Args:
        base: (rows, columns) float32, the base's weight W.
        update: (rows, columns) float32, ΔV, scale folded in.
        magnitude: m, one number a row or one an input channel.
        shape: shape of the weight.
        rows: True if m is one number a row.

    Returns:
        (rows, columns) float32, computed in float64: the two terms of the difference nearly cancel.
    """
    import torch

    wide = base.to(torch.float64)
    total = wide + update.to(torch.float64)
    if not rows:
        total = total.reshape(shape[0], shape[1], -1)
    over = (1,) if rows else (0, 2)
    norm = total.norm(dim=over, keepdim=True)
    # A row of zeros has no direction; it stays a row of zeros, whatever its magnitude.
    ratio = torch.where(norm > 0, magnitude.to(torch.float64).reshape(norm.shape) / norm, torch.ones_like(norm))
    return ((ratio * total).reshape(wide.shape) - wide).to(torch.float32)
