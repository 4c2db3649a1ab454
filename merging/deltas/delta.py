"""The canonical form of what an expert does to one weight: a float32 matrix, kept as low-rank factors where it can.

A weight of any shape is seen as a matrix: its first dimension gives the rows (outputs), all others together the columns
(inputs). A 3x3 convolution of shape (out, in, 3, 3) is thus (out, 9 in); a bias of shape (n,) is (n, 1).

Its low-rank terms are `Factors`, whatever dtype those are in; `Delta.up` and `Delta.down` give them in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .factors import Factors, all_finite


class Delta:
    """``up @ down + full``, either part of which may be absent. Scale (alpha/rank) is already folded in.

    Args:
        shape: shape of the weight that this is added to.
        up: (rows, r) float32, or None.
        down: (r, columns) float32, or None (both or neither).
        full: (rows, columns) float32, or None.
        factors: more low-rank terms, which are added to that of ``up`` and ``down``.

    Attributes:
        shape, full: as given.
        factors: all low-rank terms.
        single: the only term, where the delta is nothing else; else None.
    """

    __slots__ = ("factors", "full", "shape", "single")

    def __init__(
        self,
        shape: tuple[int, ...],
        up: Tensor | None = None,
        down: Tensor | None = None,
        full: Tensor | None = None,
        factors: Sequence[Factors] = (),
    ) -> None:
        for part in (up, down, full):
            if part is not None and (part.dtype != torch.float32 or part.dim() != 2):
                raise ValueError("the parts of a delta are float32 matrices")
        if (up is None) != (down is None):
            raise ValueError("a delta needs both factors, or neither")
        own = () if up is None or down is None else (Factors(up, down),)
        self.shape, self.full, self.factors = tuple(shape), full, (*own, *factors)
        self.single = self.factors[0] if full is None and len(self.factors) == 1 else None
        if not self.factors and full is None:
            raise ValueError("a delta needs both factors, or a full part")
        rows, columns = self.matrix_shape
        for term in self.factors:
            if term.up.shape[0] != rows or term.down.shape[1] != columns:
                raise ValueError(f"factors {tuple(term.up.shape)}, {tuple(term.down.shape)} do not fit {self.shape}")
        if full is not None and tuple(full.shape) != self.matrix_shape:
            raise ValueError(f"a full part of {tuple(full.shape)} does not fit {self.shape}")

    def __repr__(self) -> str:
        return f"Delta(shape={self.shape}, rank={self.rank})"

    @classmethod
    def of(cls, tensor: Tensor) -> Delta:
        """A full-rank delta from a tensor of the weight's shape (cast to float32)."""
        return cls(tuple(tensor.shape), full=tensor.to(torch.float32).reshape(tensor.shape[0], -1))

    @property
    def matrix_shape(self) -> tuple[int, int]:
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def up(self) -> Tensor | None:
        """(rows, r) float32, scale and weights folded in, all terms side by side; None if there are none."""
        ups = [term.scaled_up() for term in self.factors]
        return None if not ups else ups[0] if len(ups) == 1 else torch.cat(ups, 1)

    @property
    def down(self) -> Tensor | None:
        """(r, columns) float32, all terms one below the other; None if there are none."""
        downs = [term.down.to(torch.float32) for term in self.factors]
        return None if not downs else downs[0] if len(downs) == 1 else torch.cat(downs)

    @property
    def rank(self) -> int | None:
        """Number of stacked factors, or None if there is a full part."""
        return None if self.full is not None else sum(term.down.shape[0] for term in self.factors)

    @property
    def device(self) -> torch.device:
        """Where its parts are."""
        return self.factors[0].up.device if self.full is None else self.full.device

    @property
    def nbytes(self) -> int:
        """Memory that this holds; factors that are views of their file hold none of their own."""
        held = [t for term in self.factors if term.source is None for t in (term.up, term.down)]
        return sum(t.numel() * t.element_size() for t in (*held, *(() if self.full is None else (self.full,))))

    def to(self, device: torch.device) -> Delta:
        """On another device, out of the file."""
        full = None if self.full is None else self.full.to(device)
        return Delta(self.shape, full=full, factors=[term.to(device) for term in self.factors])

    def scaled(self, factor: float) -> Delta:
        """``factor`` times this delta. A factor of 1 returns the same object, so nothing is rounded."""
        if factor == 1.0:
            return self
        full = None if self.full is None else self.full * factor
        return Delta(self.shape, full=full, factors=[term.scaled(factor) for term in self.factors])

    def matrix(self) -> Tensor:
        """The dense (rows, columns) float32 matrix."""
        up, down = self.up, self.down
        if up is None or down is None:
            assert self.full is not None
            return self.full
        return up @ down if self.full is None else torch.addmm(self.full, up, down)

    def dense(self) -> Tensor:
        """The dense float32 tensor in the weight's own shape."""
        return self.matrix().reshape(self.shape)

    def added_to(self, base: Tensor) -> Tensor:
        """``base + delta`` in float32, in the weight's shape, as a new tensor; ``base`` (any dtype) is only read."""
        total = base.to(torch.float32).reshape(self.matrix_shape)
        if self.full is not None:
            total = total + self.full
        up, down = self.up, self.down
        if up is not None and down is not None:
            total = torch.addmm(total, up, down)
        return total.reshape(self.shape)

    def times(self, columns: Tensor) -> Tensor:
        """``delta @ columns`` for columns of shape (columns, k), without forming the delta."""
        up, down = self.up, self.down
        out = None if up is None or down is None else up @ (down @ columns)
        if self.full is not None:
            out = self.full @ columns if out is None else torch.addmm(out, self.full, columns)
        assert out is not None
        return out

    def inner(self, other: Delta) -> float:
        """Frobenius inner product ``<self, other>``: tr((A1 A2ᵀ)(B2ᵀ B1)) for two low-rank deltas (A down, B up)."""
        up, down = self.up, self.down
        other_up, other_down = (up, down) if other is self else (other.up, other.down)
        total = 0.0
        if up is not None and down is not None and other_up is not None and other_down is not None:
            total += _dot(down @ other_down.T, up.T @ other_up)
        if self.full is not None and other_up is not None and other_down is not None:
            total += _dot(self.full @ other_down.T, other_up)
        if up is not None and down is not None and other.full is not None:
            total += _dot(other.full @ down.T, up)
        if self.full is not None and other.full is not None:
            total += _dot(self.full, other.full)
        return total

    def norm(self) -> float:
        """Frobenius norm."""
        return math.sqrt(max(self.inner(self), 0.0))

    def finite(self) -> bool:
        """Whether every value of every part is finite, the scale applied."""
        if not all(term.finite() for term in self.factors):
            return False
        return self.full is None or all_finite(self.full)

    def nonzero(self) -> bool:
        """False if every part is zero, so that this changes nothing."""
        return any(term.spread > 0.0 for term in self.factors) or (self.full is not None and bool(self.full.any()))


def _dot(a: Tensor, b: Tensor) -> float:
    """sum(a * b), accumulated in float64 so that norms of equal deltas come out equal to the last digits."""
    wide = torch.float32 if a.device.type == "mps" else torch.float64  # MPS has no float64
    return float((a.to(wide) * b.to(wide)).sum())


def add(deltas: Sequence[Delta], weights: Iterable[float]) -> Delta:
    """``sum_i w_i delta_i``: factors are stacked, full parts are summed in the order given; low rank stays low."""
    scaled = [delta.scaled(weight) for delta, weight in zip(deltas, weights, strict=True)]
    if len({delta.shape for delta in scaled}) != 1:
        raise ValueError("deltas of different shapes cannot be added")
    fulls = [delta.full for delta in scaled if delta.full is not None]
    full = None
    if fulls:
        full = fulls[0] if len(fulls) == 1 else torch.stack(fulls).sum(dim=0)
    return Delta(scaled[0].shape, full=full, factors=[term for delta in scaled for term in delta.factors])
