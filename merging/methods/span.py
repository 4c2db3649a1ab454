"""Deltas of one shape in the span of their factors: small cores between two orthonormal bases.

With QR of the stacked factors, ``[B_1 … B_n] = Q R`` and ``[A_1; …; A_n]ᵀ = P T``, every delta is
``B_i A_i = Q C_i Pᵀ`` with ``C_i = R_i T_iᵀ`` no larger than the sum of ranks. A method that only turns both sides
(SVD, whitening, spectra) commutes with Q and P, so it may be run on the cores alone. Everything here takes a leading
batch dimension: a group of targets that are alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from .method import MergeMethod, Params, Part

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta

TOLERANCE = 1e-5
"""Singular values below this share of the largest are rounding (float32 knows about 1e-7) and count as 0."""


@dataclass(frozen=True)
class Span:
    """``delta_i = left @ cores[..., i, :, :] @ right.mT`` for n deltas at each of g targets.

    Attributes:
        left: (g, rows, p) with orthonormal columns, or None for the identity.
        right: (g, columns, q) likewise.
        cores: (g, n, p, q). With a full-rank part among them there is nothing to save, and the cores are the deltas.

    All float32, or all float64 if asked for.
    """

    left: Tensor | None
    right: Tensor | None
    cores: Tensor

    @classmethod
    def of(cls, groups: Sequence[Sequence[Delta]], *, double: bool = False) -> Span:
        """The span of each group; all groups have the same shape, number of deltas and ranks.

        ``double`` is for methods that look at single values in a basis of singular vectors. Where singular values
        are close, float32 turns those vectors by 1e-7 over their gap, and a sign or a trim then falls otherwise. (MPS,
        which has no float64, stays with float32.)
        """
        import torch

        dtype = torch.float64 if double and groups[0][0].device.type != "mps" else torch.float32
        ups, downs, ranks = [], [], [delta.rank for delta in groups[0]]
        for deltas in groups:
            if any(delta.up is None or delta.down is None or delta.full is not None for delta in deltas):
                cores = torch.stack([torch.stack([delta.matrix() for delta in some]) for some in groups])
                return cls(None, None, cores.to(dtype))
            ups.append(torch.cat([delta.up for delta in deltas if delta.up is not None], dim=1))
            downs.append(torch.cat([delta.down for delta in deltas if delta.down is not None]).T)
        left, r = torch.linalg.qr(torch.stack(ups).to(dtype))
        right, t = torch.linalg.qr(torch.stack(downs).to(dtype))
        sizes = [rank or 0 for rank in ranks]
        pairs = zip(r.split(sizes, dim=-1), t.split(sizes, dim=-1), strict=True)
        return cls(left, right, torch.stack([a @ b.mT for a, b in pairs], dim=1))

    def deltas(self, merged: Tensor, shape: tuple[int, ...]) -> list[Delta]:
        """The deltas that merged cores (g, p, q) stand for: low rank if the span is, else full."""
        import torch

        from ..deltas.delta import Delta

        if self.left is None or self.right is None:
            return [Delta(shape, full=core.to(torch.float32)) for core in merged]
        downs = (merged @ self.right.mT).to(torch.float32)
        return [Delta(shape, up, down) for up, down in zip(self.left.to(torch.float32), downs, strict=True)]


P = TypeVar("P", bound=Params)


class BatchedMethod(MergeMethod[P]):
    """A method with a batched kernel for targets that are alike. Biases, which have no spectrum, are summed.

    On the CPU targets still go one by one: batches save nothing there, and batched linear algebra does not give the
    bits of its slices (PyTorch, "Numerical accuracy"), while what is merged at one target must not depend on which
    others are merged with it. On a GPU they go together, and agree with single ones within float32 only.
    """

    @abstractmethod
    def combine_batch(self, groups: Sequence[Sequence[Part]]) -> list[Delta]:
        """`combine` at g targets that are alike and no biases, in one batch on any device."""

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        return summed(parts) if parts[0].delta.matrix_shape[1] == 1 else self.combine_batch([parts])[0]

    def combine_many(self, groups: Sequence[Sequence[Part]], seeds: Sequence[int]) -> list[Delta]:
        first = groups[0][0].delta
        if first.device.type == "cpu" or first.matrix_shape[1] == 1:
            return [self.combine(parts, seed) for parts, seed in zip(groups, seeds, strict=True)]
        return self.combine_batch(groups)


class SpanMethod(BatchedMethod[P]):
    """A method on the cores of weighted deltas."""

    double: ClassVar[bool] = False
    """Whether the cores must be float64; see `Span.of`."""

    @abstractmethod
    def merge_cores(self, cores: Tensor, full_rank: int) -> Tensor:
        """(g, n, p, q) weighted cores of n >= 2 deltas at g targets -> (g, p, q); commutes with turns of both sides.

        ``full_rank`` is the rank that a delta could have, min(rows, columns), where a paper's numbers refer to it.
        """

    def combine_batch(self, groups: Sequence[Sequence[Part]]) -> list[Delta]:
        first = groups[0][0].delta
        span = Span.of([[part.delta for part in parts] for parts in groups], double=self.double)
        return span.deltas(self.merge_cores(weighted(span.cores, groups), min(first.matrix_shape)), first.shape)


def summed(parts: Sequence[Part]) -> Delta:
    """``sum_i w_i d_i``."""
    from ..deltas.delta import add

    return add([part.delta for part in parts], [part.weight for part in parts])


def weighted(cores: Tensor, groups: Sequence[Sequence[Part]]) -> Tensor:
    """Cores (g, n, p, q), each times the weight of its part."""
    weights = cores.new_tensor([[part.weight for part in parts] for parts in groups])
    return cores * weights[..., None, None]


def significant(values: Tensor, largest: Tensor | None = None) -> Tensor:
    """Which singular values (..., k) are not rounding beside the ``largest`` (..., 1), by default their own."""
    top = values[..., :1] if largest is None else largest
    return values > TOLERANCE * top


def orthogonalized(columns: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns: ``P Qᵀ`` of the SVD ``P D Qᵀ`` (orthogonal Procrustes).

    Directions with D below 1e-4 of the largest belong to columns that repeat each other. They have no nearest
    counterpart and are left out, so k equal columns c become ``c / sqrt(k)`` each. (..., m, k) -> (..., m, k).
    """
    import torch

    p, d, qh = torch.linalg.svd(columns, full_matrices=False)
    return (p * (d > 1e-4 * d[..., :1])[..., None, :]) @ qh
