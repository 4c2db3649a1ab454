"""SVD-space merge methods as their papers write them, at full size: what the methods in the span are held against.

Every function takes float tensors of one shape (rows, columns), already weighted, and returns the merged one in their
dtype. Nothing here shares code with ``merging/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Triple = tuple[Tensor, Tensor, Tensor]


def svd(matrix: Tensor, keep: int | None = None) -> Triple:
    """Thin SVD (U, S, Vᵀ), cut to ``keep`` triples, or to those that are not rounding."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    rounding = 1e-9 if matrix.dtype == torch.float64 else 1e-5
    keep = int((s > rounding * s[0]).sum()) if keep is None else keep
    return u[:, :keep], s[:keep], vh[:keep]


def whitened(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns or rows (orthogonal Procrustes)."""
    p, _, qh = torch.linalg.svd(matrix, full_matrices=False)
    return p @ qh


def tsv_m(deltas: Sequence[Tensor], keep: int | None = None) -> Tensor:
    """Gargiulo et al. 2024, https://arxiv.org/abs/2412.00081, algorithm 1; ``keep`` triples of each, else the paper's
    1/n of the full rank (of which those that are not rounding).
    """
    share = keep or max(1, min(deltas[0].shape) // len(deltas))
    cut = [svd(delta) for delta in deltas]
    triples = [(u[:, :share], s[:share], vh[:share]) for u, s, vh in cut]
    u = torch.cat([u for u, _, _ in triples], dim=1)
    s = torch.cat([s for _, s, _ in triples])
    vh = torch.cat([vh for _, _, vh in triples])
    return whitened(u) * s @ whitened(vh)


def iso_c(deltas: Sequence[Tensor]) -> Tensor:
    """Marczak et al. 2025, https://arxiv.org/abs/2502.04959, algorithm 1."""
    u, s, vh = svd(_sum(deltas))
    return s.mean() * u @ vh


def iso_cts(deltas: Sequence[Tensor], own: int) -> Tensor:
    """The same paper's algorithm 2, with ``own`` directions an expert."""
    u, s, vh = svd(_sum(deltas))
    k = len(s) - own * len(deltas)
    u, s, vh = u[:, :k], s[:k], vh[:k]
    rest = [svd(delta - u @ (u.T @ delta), own) for delta in deltas]
    left = torch.cat([u, *(u for u, _, _ in rest)], dim=1)
    right = torch.cat([vh, *(vh for _, _, vh in rest)])
    return torch.cat([s, *(s for _, s, _ in rest)]).mean() * whitened(left) @ whitened(right)


def ties(values: Sequence[Tensor], density: float) -> Tensor:
    """Yadav et al. 2023, https://arxiv.org/abs/2306.01708, algorithm 1, with the disjoint mean."""
    trimmed = []
    for value in values:
        size = value.abs().flatten()
        threshold = size.sort().values[size.numel() - max(1, int(density * size.numel()))]
        trimmed.append(torch.where(value.abs() >= threshold, value, torch.zeros_like(value)))
    sign = torch.where(_sum(trimmed) >= 0, 1.0, -1.0)
    agrees = [value * sign > 0 for value in trimmed]
    total = _sum([value * agree for value, agree in zip(trimmed, agrees, strict=True)])
    return total / _sum([agree.to(total.dtype) for agree in agrees]).clamp(min=1)


def knots(deltas: Sequence[Tensor], density: float = 0.5, fold: bool = True) -> Tensor:
    """Stoica et al. 2024, https://arxiv.org/abs/2410.19735, section 3."""
    u, s, vh = svd(torch.cat(list(deltas), dim=1))
    values = vh.chunk(len(deltas), dim=1)
    if fold:
        return u @ ties([s[:, None] * v for v in values], density)
    return u @ (s[:, None] * ties(values, density))


def core_space(
    deltas: Sequence[Tensor], inner: Callable[[Sequence[Tensor]], Tensor] = lambda cores: ties(cores, 0.5)
) -> Tensor:
    """Panariello et al. 2025, https://arxiv.org/abs/2509.17786, section 3, with balanced factors."""
    triples = [svd(delta) for delta in deltas]
    u = svd(torch.cat([u * s.sqrt() for u, s, _ in triples], dim=1))[0]
    vh = svd(torch.cat([s.sqrt()[:, None] * vh for _, s, vh in triples]))[2]
    return u @ inner([u.T @ delta @ vh.T for delta in deltas]) @ vh


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(dim=0)
