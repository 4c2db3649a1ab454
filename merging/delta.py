"""The canonical form of what an expert does to one weight: a matrix kept as low-rank factors, in float32.

A weight of any shape is seen as a matrix: its first dimension gives the rows (outputs), all others together the columns
(inputs). A 3x3 convolution of shape (out, in, 3, 3) is thus (out, 9 in); a bias of shape (n,) is (n, 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Delta:
    """``up @ down + full``, either part of which may be absent. Scale (alpha/rank) is already folded in.

    Attributes:
        shape: shape of the weight that this is added to.
        up: (rows, r) float32, or None.
        down: (r, columns) float32, or None (both or neither).
        full: (rows, columns) float32, or None.
    """

    shape: tuple[int, ...]
    up: Tensor | None = None
    down: Tensor | None = None
    full: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.up is None) != (self.down is None) or (self.up is None and self.full is None):
            raise ValueError("a delta needs both factors, or a full part")
        for part in (self.up, self.down, self.full):
            if part is not None and (part.dtype != torch.float32 or part.dim() != 2):
                raise ValueError("the parts of a delta are float32 matrices")
        rows, columns = self.matrix_shape
        if self.up is not None and self.down is not None:
            rank = self.down.shape[0]
            if tuple(self.up.shape) != (rows, rank) or tuple(self.down.shape) != (rank, columns):
                raise ValueError(f"factors {tuple(self.up.shape)}, {tuple(self.down.shape)} do not fit {self.shape}")
        if self.full is not None and tuple(self.full.shape) != self.matrix_shape:
            raise ValueError(f"a full part of {tuple(self.full.shape)} does not fit {self.shape}")

    @classmethod
    def of(cls, tensor: Tensor) -> Delta:
        """A full-rank delta from a tensor of the weight's shape (cast to float32)."""
        return cls(tuple(tensor.shape), full=tensor.to(torch.float32).reshape(tensor.shape[0], -1))

    @property
    def matrix_shape(self) -> tuple[int, int]:
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def rank(self) -> int | None:
        """Number of stacked factors, or None if there is a full part."""
        return None if self.full is not None or self.down is None else self.down.shape[0]

    @property
    def device(self) -> torch.device:
        """Where its parts are."""
        part = self.full if self.full is not None else self.up
        assert part is not None
        return part.device

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * 4 for t in (self.up, self.down, self.full) if t is not None)

    def to(self, device: torch.device) -> Delta:
        moved = [None if t is None else t.to(device) for t in (self.up, self.down, self.full)]
        return Delta(self.shape, *moved)

    def scaled(self, factor: float) -> Delta:
        """``factor`` times this delta. A factor of 1 returns the same object, so nothing is rounded."""
        if factor == 1.0:
            return self
        up = None if self.up is None else self.up * factor
        full = None if self.full is None else self.full * factor
        return Delta(self.shape, up, self.down, full)

    def matrix(self) -> Tensor:
        """The dense (rows, columns) float32 matrix."""
        if self.up is None or self.down is None:
            assert self.full is not None
            return self.full
        return self.up @ self.down if self.full is None else torch.addmm(self.full, self.up, self.down)

    def dense(self) -> Tensor:
        """The dense float32 tensor in the weight's own shape."""
        return self.matrix().reshape(self.shape)

    def added_to(self, base: Tensor) -> Tensor:
        """``base + delta`` in float32, in the weight's shape, as a new tensor; ``base`` (any dtype) is only read."""
        total = base.to(torch.float32).reshape(self.matrix_shape)
        if self.full is not None:
            total = total + self.full
        if self.up is not None and self.down is not None:
            total = torch.addmm(total, self.up, self.down)
        return total.reshape(self.shape)

    def times(self, columns: Tensor) -> Tensor:
        """``delta @ columns`` for columns of shape (columns, k), without forming the delta."""
        out = None if self.up is None or self.down is None else self.up @ (self.down @ columns)
        if self.full is not None:
            out = self.full @ columns if out is None else torch.addmm(out, self.full, columns)
        assert out is not None
        return out

    def inner(self, other: Delta) -> float:
        """Frobenius inner product ``<self, other>``: tr((A1 A2ᵀ)(B2ᵀ B1)) for two low-rank deltas (A down, B up)."""
        total = 0.0
        if self.up is not None and self.down is not None and other.up is not None and other.down is not None:
            total += _dot(self.down @ other.down.T, self.up.T @ other.up)
        if self.full is not None and other.up is not None and other.down is not None:
            total += _dot(self.full @ other.down.T, other.up)
        if self.up is not None and self.down is not None and other.full is not None:
            total += _dot(other.full @ self.down.T, self.up)
        if self.full is not None and other.full is not None:
            total += _dot(self.full, other.full)
        return total

    def norm(self) -> float:
        """Frobenius norm."""
        return math.sqrt(max(self.inner(self), 0.0))

    def finite(self) -> bool:
        return all(bool(torch.isfinite(t).all()) for t in (self.up, self.down, self.full) if t is not None)


def _dot(a: Tensor, b: Tensor) -> float:
    """sum(a * b), accumulated in float64 so that norms of equal deltas come out equal to the last digits."""
    wide = torch.float32 if a.device.type == "mps" else torch.float64  # MPS has no float64
    return float((a.to(wide) * b.to(wide)).sum())


def add(deltas: Sequence[Delta], weights: Iterable[float]) -> Delta:
    """``sum_i w_i delta_i``: factors are stacked, full parts are summed in the order given; low rank stays low."""
    scaled = [delta.scaled(weight) for delta, weight in zip(deltas, weights, strict=True)]
    if len({delta.shape for delta in scaled}) != 1:
        raise ValueError("deltas of different shapes cannot be added")
    ups = [delta.up for delta in scaled if delta.up is not None]
    downs = [delta.down for delta in scaled if delta.down is not None]
    fulls = [delta.full for delta in scaled if delta.full is not None]
    full = None
    if fulls:
        full = fulls[0] if len(fulls) == 1 else torch.stack(fulls).sum(dim=0)
    return Delta(scaled[0].shape, torch.cat(ups, 1) if ups else None, torch.cat(downs) if downs else None, full)
