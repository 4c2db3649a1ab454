"""The GPU kernel of `gpu_merge`, in Triton: ``out = base + sum_e scale_e * up_e @ down_e`` for many weights at once.

A tile of a weight is read once, all products are added to it in float32, and it is rounded and written once: half the
bytes of a copy followed by a product. What a tile computes depends on its own weight alone, not on how many others
share the launch. Imported only where Triton is there.
"""

import logging
import subprocess

import torch
import triton
import triton.language as tl
from triton.errors import TritonError

_log = logging.getLogger(__name__)
TILE = {"ROWS": 128, "COLUMNS": 128, "RANK": 32}
WARPS = 8
KINDS = (torch.bfloat16, torch.float16, torch.float32)
"""Dtypes that factors may have; the kernel is told which by the place in this list."""


@triton.jit
def _product(up, down, up_at, down_at, up_there, down_there, DTYPE: tl.constexpr):
    """(ROWS, RANK) times (RANK, COLUMNS); factors in float32 are multiplied in tf32, as exact as float16."""
    a = tl.load(tl.multiple_of(up.to(tl.pointer_type(DTYPE)), 16) + up_at, mask=up_there, other=0.0)
    b = tl.load(tl.multiple_of(down.to(tl.pointer_type(DTYPE)), 16) + down_at, mask=down_there, other=0.0)
    return tl.dot(a, b, input_precision="tf32")


@triton.jit(do_not_specialize=["n", "experts"])
def _merge(table, scales, n, experts, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, RANK: tl.constexpr):
    weight, across = tl.program_id(1), tl.cdiv(columns, COLUMNS)
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    row_in, column_in = row < rows, column < columns
    at, inside = row[:, None] * columns + column[None, :], row_in[:, None] & column_in[None, :]
    out = tl.multiple_of(tl.load(table + weight).to(tl.pointer_type(tl.bfloat16)), 16)
    base = tl.multiple_of(tl.load(table + n + weight).to(tl.pointer_type(tl.bfloat16)), 16)
    before = tl.load(base + at, mask=inside, other=0.0)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for expert in range(experts):
        told = table + (2 + 4 * expert) * n + weight
        up, down = tl.load(told), tl.load(told + n)
        rank, kind = tl.load(told + 2 * n).to(tl.int32), tl.load(told + 3 * n)
        part = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, rank, RANK):
            k = start + tl.arange(0, RANK)
            up_at, down_at = k[None, :] * rows + row[:, None], k[:, None] * columns + column[None, :]
            up_there, down_there = (k < rank)[None, :] & row_in[:, None], (k < rank)[:, None] & column_in[None, :]
            if kind == 0:
                part += _product(up, down, up_at, down_at, up_there, down_there, tl.bfloat16)
            elif kind == 1:
                part += _product(up, down, up_at, down_at, up_there, down_there, tl.float16)
            else:
                part += _product(up, down, up_at, down_at, up_there, down_there, tl.float32)
        total += tl.load(scales + expert * n + weight) * part
    tl.store(out + at, (before.to(tl.float32) + total).to(tl.bfloat16), mask=inside)


def merge(table: torch.Tensor, scales: torch.Tensor, rows: int, columns: int) -> None:
    """Merge n weights of (rows, columns), in bfloat16 and contiguous.

    Args:
        table: int64 (2 + 4 * experts, n): for each weight the addresses of where to write and of the base's
            weight; for each expert those of its up factor, transposed (rank, rows), and of its down factor
            (rank, columns), its rank, and the place of its dtype in `KINDS`. Addresses are multiples of 16.
        scales: float32 (experts, n).
        rows: a multiple of 16.
        columns: likewise; rows times columns is under 2**31.
    """
    experts, n = scales.shape
    tiles = triton.cdiv(rows, TILE["ROWS"]) * triton.cdiv(columns, TILE["COLUMNS"])
    with torch.cuda.device_of(table):
        _merge[(tiles, n)](table, scales, n, experts, rows, columns, **TILE, num_warps=WARPS)


def works(device: torch.device) -> bool:
    """Whether the kernel compiles and computes here. Without a C compiler, say, Triton cannot launch anything."""
    side, rank = 256, 48
    base, out = (torch.ones(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    factors = [torch.ones(rank, side, dtype=dtype, device=device) for dtype in KINDS]
    told = [(f.data_ptr(), f.data_ptr(), rank, kind) for kind, f in enumerate(factors)]
    table = torch.tensor([[out.data_ptr()], [base.data_ptr()], *([value] for each in told for value in each)])
    try:
        merge(table.to(device), torch.full((len(KINDS), 1), 0.5, device=device), side, side)
    except (TritonError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        _log.warning("The merge kernel does not run here (%s: %s); switches take longer.", type(error).__name__, error)
        return False
    return bool((out == 1 + 0.5 * rank * len(KINDS)).all())
