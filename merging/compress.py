"""One LoRA of rank r from a merged delta, by exact truncated SVD in the span of its factors, with the loss reported.

Truncating an SVD is the best approximation of its rank in the Frobenius norm (Eckart and Young 1936), and its loss is
the energy of the singular values left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .delta import Delta


@dataclass(frozen=True)
class Compressed:
    """A delta of rank at most r, and what that cost.

    Attributes:
        delta: ``up @ down`` with the singular values shared evenly between the factors; a bias stays as it is.
        energy: squared Frobenius norm before.
        lost: squared Frobenius norm of what is missing.
    """

    delta: Delta
    energy: float
    lost: float


@dataclass(frozen=True)
class CompressReport:
    """What compressing a whole merge to one rank cost. Shares are of squared Frobenius norm, in [0, 1].

    Attributes:
        rank: the rank asked for.
        targets: number of matrices compressed; biases, which stay exact, are not counted.
        energy_lost: share of the energy of all deltas together.
        worst: target with the largest share lost, "" if nothing was compressed.
        worst_lost: that share.
    """

    rank: int
    targets: int
    energy_lost: float
    worst: str
    worst_lost: float


def compress(delta: Delta, rank: int) -> Compressed:
    """The nearest delta of rank at most ``rank``.

    Raises:
        ValueError: rank below 1.
    """
    if rank < 1:
        raise ValueError(f"a LoRA has a rank of at least 1, not {rank}")
    if delta.matrix_shape[1] == 1:
        return Compressed(delta, delta.inner(delta), 0.0)
    u, s, vh = svd(delta)
    keep = max(1, min(rank, int((s > 1e-7 * s[:1]).sum())))
    squared = s.to(torch.float32 if s.device.type == "mps" else torch.float64).square()
    root = s[:keep].sqrt()
    small = Delta(delta.shape, (u[:, :keep] * root).contiguous(), (root[:, None] * vh[:keep]).contiguous())
    return Compressed(small, float(squared.sum()), float(squared[keep:].sum()))


def compress_all(deltas: Mapping[str, Delta], rank: int) -> tuple[dict[str, Delta], CompressReport]:
    """`compress` every delta of a merge, target by target.

    Raises:
        ValueError: rank below 1.
    """
    done = {target: compress(delta, rank) for target, delta in deltas.items()}
    shares = {t: c.lost / c.energy for t, c in done.items() if c.energy > 0.0 and deltas[t].matrix_shape[1] > 1}
    energy = math.fsum(c.energy for c in done.values())
    worst = min(shares, key=lambda target: (-shares[target], target), default="")
    report = CompressReport(
        rank=rank,
        targets=sum(delta.matrix_shape[1] > 1 for delta in deltas.values()),
        energy_lost=math.fsum(c.lost for c in done.values()) / energy if energy > 0.0 else 0.0,
        worst=worst,
        worst_lost=shares.get(worst, 0.0),
    )
    return {target: c.delta for target, c in done.items()}, report


def svd(delta: Delta) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD ``u @ diag(s) @ vh`` of a delta; for factors by QR of each and the SVD of an (r, r) core."""
    if delta.full is not None or delta.up is None or delta.down is None:
        return torch.linalg.svd(delta.matrix(), full_matrices=False)
    left, r = torch.linalg.qr(delta.up)
    right, t = torch.linalg.qr(delta.down.T)
    u, s, vh = torch.linalg.svd(r @ t.T, full_matrices=False)
    return left @ u, s, vh @ right.T
