"""Low-rank factors of a delta as they were stored, and stacks of factors that lie in one piece of memory.

Factors stay in the dtype of their file, often as views of the file itself (`files.mapped_file`), beside a scale: the
delta that they stand for is ``(scale * float32(up)) @ float32(down)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ...files.mapped_file import MappedFile

Numbers = np.ndarray[Any, np.dtype[np.float64]]

STORED = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that factors may be kept in; others (fp8, float64) are cast to float32 as they are read."""
_LIMIT = torch.finfo(torch.float32).max
_MEASURED = ("_lengths", "unit_spread", "unit_reach")
"""What is remembered of factors, whatever their scale."""
_SMALL_LENGTH = 1e-15
"""A length above this has lost under a thousandth to squares that are 0 in float32, whatever their number."""


@dataclass(frozen=True, eq=False)
class Factors:
    """``scale * up @ down`` in float32.

    Attributes:
        up: (rows, r), float32, bfloat16 or float16.
        down: (r, columns), likewise.
        scale: what the product is multiplied with; it is applied to ``up``, once, in float32.
        source: the file that both are views of, or None if they are in memory.
        stack: the stack that both are views of, if they lie in one, and ``index``, which of its entries they are.
    """

    up: Tensor
    down: Tensor
    scale: float = 1.0
    source: MappedFile | None = None
    stack: FactorStack | None = None
    index: int = 0

    def __post_init__(self) -> None:
        if self.up.dim() != 2 or self.down.dim() != 2 or self.up.shape[1] != self.down.shape[0]:
            raise ValueError(f"factors {tuple(self.up.shape)} and {tuple(self.down.shape)} cannot be multiplied")
        if self.up.dtype not in STORED or self.down.dtype not in STORED:
            raise ValueError("factors are float32, bfloat16 or float16")

    def scaled_up(self) -> Tensor:
        """``scale * up`` in float32."""
        up = self.up.to(torch.float32)
        return up if self.scale == 1.0 else up * self.scale

    def scaled(self, factor: float) -> Factors:
        """``factor`` times this, by the scale alone."""
        if factor == 1.0:
            return self
        return self.measured_as(replace(self, scale=self.scale * factor))

    def measured_as(self, other: Factors) -> Factors:
        """``other``, whose up and down hold the same values: what was measured of them is handed on to it."""
        other.__dict__.update({name: self.__dict__[name] for name in _MEASURED if name in self.__dict__})
        return other

    def to(self, device: torch.device) -> Factors:
        """On another device, out of the file."""
        return self.measured_as(Factors(self.up.to(device), self.down.to(device), self.scale))

    @cached_property
    def _lengths(self) -> tuple[list[float], list[float]]:
        """Length of every column of up and of every row of down. Infinite or NaN if a value is."""
        return _lengths_of(self.up, 0), _lengths_of(self.down, 1)

    @property
    def spread(self) -> float:
        """``sqrt(sum_k |u_k|² |d_k|²)`` over the rank-1 terms: their norm as if they were orthogonal to each other.

        It is what rounding the factors scales with: independent relative errors of root mean square c in either
        factor change the product by c times this, in the Frobenius norm. 0 if and only if every term is 0.
        """
        return abs(self.scale) * self.unit_spread

    @cached_property
    def unit_spread(self) -> float:
        """`spread` at scale 1."""
        return math.sqrt(sum((u * d) ** 2 for u, d in zip(*self._lengths, strict=True)))

    @property
    def reach(self) -> float:
        """``sum_k |u_k| |d_k|``: no value of the delta is larger (Cauchy-Schwarz)."""
        return abs(self.scale) * self.unit_reach

    @cached_property
    def unit_reach(self) -> float:
        """`reach` at scale 1."""
        return sum(u * d for u, d in zip(*self._lengths, strict=True))

    def finite(self) -> bool:
        """Whether ``scale * up`` and ``down`` are finite, told from the lengths wherever they are within float32."""
        ups, downs = self._lengths
        if sum(ups) * abs(self.scale) < _LIMIT and sum(downs) < _LIMIT:  # False for NaN, wherever it stands
            return True
        return all_finite(self.scaled_up()) and all_finite(self.down)


@dataclass(frozen=True, eq=False)
class FactorStack:
    """Factors of one shape and dtype.

    Attributes:
        ups: (n, r, rows), every up factor transposed.
        downs: (n, r, columns).
        scales: (n,), what each product is multiplied with.
        reaches: (n,), `Factors.unit_reach` of each.
        spreads: (n,), `Factors.unit_spread` of each.
    """

    ups: Tensor
    downs: Tensor
    scales: Numbers
    reaches: Numbers
    spreads: Numbers

    @classmethod
    def of(cls, terms: Sequence[Factors], device: torch.device) -> FactorStack:
        """These factors, of one shape and dtype, on a device."""
        return cls(
            torch.stack([term.up for term in terms]).to(device).transpose(1, 2).contiguous(),
            torch.stack([term.down for term in terms]).to(device),
            np.array([term.scale for term in terms]),
            np.array([term.unit_reach for term in terms]),
            np.array([term.unit_spread for term in terms]),
        )

    def factors(self, index: int) -> Factors:
        """One entry, as views."""
        return Factors(self.ups[index].t(), self.downs[index], float(self.scales[index]), stack=self, index=index)


def _lengths_of(matrix: Tensor, dim: int) -> list[float]:
    """Euclidean lengths along a dimension. Squares that float32 cannot hold, large or small, are taken in float64."""
    lengths: list[float] = torch.linalg.vector_norm(matrix, dim=dim, dtype=torch.float32).tolist()
    plain = sum(lengths) < math.inf and min(lengths, default=1.0) > _SMALL_LENGTH  # False for NaN
    if not plain and matrix.device.type != "mps":
        lengths = torch.linalg.vector_norm(matrix, dim=dim, dtype=torch.float64).tolist()
    return lengths


def all_finite(tensor: Tensor) -> bool:
    """Whether all values are finite. A finite sum proves it, some 20 times as fast as a test of each on the CPU."""
    if tensor.element_size() == 1:  # torch adds and tests no fp8
        tensor = tensor.to(torch.float32)
    return bool(torch.isfinite(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())
