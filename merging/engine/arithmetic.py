"""The arithmetic of a merge: ``out = base + delta``, accumulated in float32, rounded once, at the speed of memory.

Three kernels, all of which read the base and write the result once:

- *float32*: ``addmm`` on the stacked factors, in place of the result.
- *fused* (bfloat16): the same in bfloat16, on the CPU in blocks of rows that stay in the cache. The matrix units
  multiply bfloat16 factors and add the products to the base in float32, and the sum is rounded to bfloat16 once. So the
  only error beside that rounding is that of the factors, which are rounded to bfloat16 before; where it counts
  (`harmless` says no) the next kernel is used instead.
- *by rows*: float32 in blocks of rows that stay in the cache, cast at the end. For everything else.

Every weight has kernel calls of its own, cut by its shape: its bits depend on its own recipe alone, never on which
other weights happen to change in the same switch, as they might if weights of a shape were batched (libraries pick
kernels by batch size). Where asking for each costs more than computing it, `batched_factors` prepares many weights at
once and `gpu_merge` merges them; their bits depend on no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import PlanError
from ..deltas.delta import Delta
from ..deltas.factors import Factors, Numbers, all_finite

_ROUNDING_SHARE = 1 / 8
"""How large the error of rounded factors may be beside that of rounding the result; the two being independent, the
total then is at most ``sqrt(1 + 1/64)``, 0.8 % above that of a correctly rounded sum (root mean square)."""
_SMALL = 2**16
"""Weights of fewer values take microseconds either way, and torch has slower, less exact kernels for tiny bfloat16."""
_STACKED = (torch.float32, torch.bfloat16)
"""Dtypes that `stackable` knows a product in the base's own dtype to be exact enough for."""
_FUSED_BLOCK = 2**19
"""Values in a block of `_add_fused`: 1 MB in bfloat16, which fits a core's own cache."""
_HALF_RANGE = {dtype: torch.finfo(dtype).max / 2 for dtype in (torch.float32, torch.bfloat16, torch.float16)}
_BLOCK = 2**20
"""Values in a float32 block: 4 MB, which fit a core's share of the cache."""

Truths = np.ndarray[Any, np.dtype[np.bool_]]


class Contribution(NamedTuple):
    """What one expert adds at several weights: for each the scale of its product, and what is known of its factors at
    scale 1 (`Factors.unit_reach`, `Factors.unit_spread`); and the dtypes of the factors.
    """

    scales: Numbers
    reaches: Numbers
    spreads: Numbers
    up: torch.dtype
    down: torch.dtype


def write_merged(out: Tensor, base: Tensor, delta: Delta, base_norm: float, target: str) -> None:
    """Write ``base + delta`` to ``out``: all values finite, or PlanError (``out`` is then spoilt).

    Args:
        out: where to; of the base's shape and dtype, contiguous. Never the base itself.
        base: the base's weight; only read.
        delta: what to add.
        base_norm: Frobenius norm of the base's weight.
        target: name for the error.

    Raises:
        PlanError: a merged value that the dtype cannot hold.
    """
    a, b = base.reshape(delta.matrix_shape), out.view(delta.matrix_shape)
    if a.dtype == torch.float32:
        _add_float32(b, a, delta)
    elif _fusible(a, delta, base_norm):
        _add_fused(b, a, delta.factors)
    else:
        _add_by_rows(b, a, delta)
    known = delta.full is None and _bounded(delta.factors, base_norm, a.dtype)
    if not known and not all_finite(b):
        raise PlanError(f"the merged {target} has values that {base.dtype} cannot hold: lower the weights")


def merged(base: Tensor, delta: Delta | None, dtype: torch.dtype, target: str) -> Tensor:
    """``base + delta`` as a new tensor in a dtype, with the bits of `write_merged` if the base is of that dtype.

    Args:
        base: float32, whatever dtype it is stored in.
        delta: what to add, or None for nothing.
        dtype: of the result.
        target: name for the error.

    Raises:
        PlanError: a value that the dtype cannot hold.
    """
    stored = base.to(dtype)
    if delta is not None and torch.equal(stored.to(torch.float32), base):
        out = torch.empty_like(stored)
        with exact_products():
            write_merged(out, stored, delta, norm(stored), target)
        return out
    out = (base if delta is None else delta.added_to(base)).to(dtype)
    if not all_finite(out):
        raise PlanError(f"the merged {target} has values that {dtype} cannot hold: lower the weights")
    return out


def norm(weight: Tensor) -> float:
    """Frobenius norm of a weight to two digits; infinite or NaN where a value is."""
    if weight.element_size() == 1:  # torch adds no fp8
        weight = weight.to(torch.float32)
    # In float16 a sum of squares would overflow; in bfloat16 torch is four times as fast without a cast.
    wide = torch.float32 if weight.dtype == torch.float16 else None
    return float(torch.linalg.vector_norm(weight, dtype=wide))


def stacked(factors: Sequence[Factors], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``[s_1 U_1, s_2 U_2, …]`` and ``[D_1; D_2; …]`` in a dtype: scaled in float32, then rounded once."""
    rank = sum(term.down.shape[0] for term in factors)
    rows, columns = factors[0].up.shape[0], factors[0].down.shape[1]
    up = torch.empty(rows, rank, dtype=dtype, device=factors[0].up.device)
    down = torch.empty(rank, columns, dtype=dtype, device=up.device)
    at = 0
    for term in factors:
        end = at + term.down.shape[0]
        if term.up.dtype == dtype:
            torch.mul(term.up, term.scale, out=up[:, at:end])  # torch multiplies half precision in float32
        else:
            up[:, at:end].copy_(term.scaled_up())
        down[at:end].copy_(term.down)
        at = end
    return up, down


def harmless(factors: Sequence[Factors], dtype: torch.dtype, base_norm: float) -> bool:
    """Whether rounding the factors to ``dtype`` adds less than `_ROUNDING_SHARE` of the rounding of the result.

    A factor that ``dtype`` holds exactly adds nothing: one that comes in that dtype, an up factor only if its scale is
    a power of two. Errors of different values are taken as independent, as in any statistical analysis of rounding;
    the norm of what a factor's errors add up to is then the unit error times `Factors.spread`.
    """
    some = [(term.up.dtype, term.down.dtype, term.scale, term.spread) for term in factors]
    return math.sqrt(sum(_rounding(*term, dtype) for term in some)) <= _ROUNDING_SHARE * base_norm


def _rounding(up: torch.dtype, down: torch.dtype, scale: Any, spread: Any, dtype: torch.dtype) -> Any:
    """Square of what rounding a term's factors to ``dtype`` adds, in units of the rounding; of one term, or of many."""
    up_exact = (up == dtype) & (np.abs(np.frexp(scale)[0]) == 0.5)
    return (2 - up_exact - (down == dtype)) * (spread * spread)


def stackable(dtype: torch.dtype, values: int, norms: Numbers, terms: Sequence[Contribution]) -> Truths:
    """Where ``addmm`` of factors rounded to the base's dtype is as exact as `write_merged`, and all values are known to
    be finite before they are computed.

    Args:
        dtype: of the base's weights, all of one shape.
        values: how many each of them has.
        norms: (n,), their norms.
        terms: what is added to each.

    Returns:
        bool (n,): False for NaN.
    """
    reach, rounding = norms, np.zeros_like(norms)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are not stackable
        for term in terms:
            reach = reach + np.abs(term.scales) * term.reaches
            rounding += _rounding(term.up, term.down, term.scales, term.scales * term.spreads, dtype)
    if dtype not in _STACKED or (dtype != torch.float32 and values < _SMALL):
        return np.zeros(len(norms), dtype=bool)
    fine = reach <= _HALF_RANGE[dtype]
    return fine if dtype == torch.float32 else fine & (np.sqrt(rounding) <= _ROUNDING_SHARE * norms)


def _fusible(base: Tensor, delta: Delta, base_norm: float) -> bool:
    if base.dtype != torch.bfloat16 or delta.full is not None or base.numel() < _SMALL:
        return False
    if base.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False  # torch would multiply without matrix units, slower than float32
    return base.device.type in ("cpu", "cuda") and harmless(delta.factors, base.dtype, base_norm)


def _add_float32(out: Tensor, base: Tensor, delta: Delta) -> None:
    up, down = delta.up, delta.down
    if delta.full is not None:
        torch.add(base, delta.full, out=out)
        base = out
    if up is not None and down is not None:
        torch.addmm(base, up, down, out=out)


def _add_fused(out: Tensor, base: Tensor, factors: Sequence[Factors]) -> None:
    """In blocks of rows on the CPU: torch copies the base to the result first and adds the product to that, so what is
    copied should still be in the cache when it is added to.
    """
    up, down = stacked(factors, base.dtype)
    rows, columns = base.shape
    step = max(1, _FUSED_BLOCK // columns) if base.device.type == "cpu" else rows
    for start in range(0, rows, step):
        some = slice(start, start + step)
        torch.addmm(base[some], up[some], down, out=out[some])


def _add_by_rows(out: Tensor, base: Tensor, delta: Delta) -> None:
    up, down = delta.up, delta.down
    rows, columns = base.shape
    step = max(1, _BLOCK // columns) if base.device.type == "cpu" else rows
    for start in range(0, rows, step):
        some = slice(start, start + step)
        block = base[some].to(torch.float32)
        if delta.full is not None:
            block += delta.full[some]
        if up is not None and down is not None:
            block.addmm_(up[some], down)
        out[some].copy_(block)


def _bounded(factors: Sequence[Factors], base_norm: float, dtype: torch.dtype) -> bool:
    """Whether the merged values are known to be finite without a look at them: no value of the base exceeds its norm,
    none of the delta its reach. Half of the range is left for rounding. False for NaN.
    """
    return base_norm + sum(term.reach for term in factors) <= _HALF_RANGE.get(dtype, 0.0)


@contextmanager
def exact_products() -> Iterator[None]:
    """Float32 products in float32, and no sums in half precision, whatever the process has allowed for sampling."""
    cuda: Any = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cuda.allow_bf16_reduced_precision_reduction = before[1]
