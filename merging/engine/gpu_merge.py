"""Merges groups of weights (`batched_factors`): by the kernel of `triton_kernel` where it runs, else one by one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from threading import Thread
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..deltas.factors import Numbers
from .batched_factors import TaskGroup, write_group

_ALIGNED = 16
"""Bytes that addresses, and values that sides, must be multiples of for the kernel."""
_LONGEST = 2**31
"""The kernel counts the values of a weight in 32 bits."""
_MOST = 2**16 - 1
"""Weights in one launch."""


class WeightSlot(NamedTuple):
    """Where a weight is merged.

    Attributes:
        out: the slot as a matrix, contiguous.
        base: the base's weight as one.
        shaped: the slot in the weight's own shape.
        norm: Frobenius norm of the base's weight.
        addresses: of out and base.
    """

    out: Tensor
    base: Tensor
    shaped: Tensor
    norm: float
    addresses: tuple[int, int]

    @classmethod
    def of(cls, out: Tensor, base: Tensor, shape: tuple[int, int], norm: float) -> WeightSlot:
        """``out`` and ``base`` of the weight's own shape, ``shape`` of its matrix."""
        matrix, weight = out.view(shape), base.reshape(shape)
        return cls(matrix, weight, out, norm, (matrix.data_ptr(), weight.data_ptr()))


class GpuMerger:
    """Writes merged weights. The kernel is compiled, which takes seconds the first time, and tried in a thread that is
    started here: a base is loaded meanwhile.

    Args:
        device: where the weights are.
        dtype: of the base's weights.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._kernel: Future[ModuleType | None] = Future()
        if device.type == "cuda" and dtype == torch.bfloat16 and find_spec("triton") is not None:
            Thread(target=self._try, args=(device,), name="compile the merge kernel", daemon=True).start()
        else:
            self._kernel.set_result(None)

    def _try(self, device: torch.device) -> None:
        kernel = None
        try:
            from . import triton_kernel

            kernel = triton_kernel if triton_kernel.works(device) else None
        finally:
            self._kernel.set_result(kernel)

    @property
    def has_kernel(self) -> bool:
        """Whether the kernel is used; waits for the trial."""
        return self._kernel.result() is not None

    def write(self, work: Sequence[tuple[TaskGroup, Sequence[WeightSlot]]]) -> None:
        """Merge every group's weights into their slots, one for each task."""
        kernel = self._kernel.result()
        tables = [None if kernel is None else _table(kernel, group, slots) for group, slots in work]
        wanted = [table for table in tables if table is not None]
        # All in one piece before the first launch: a copy to the device waits for what was launched before it.
        uploads = iter(_uploaded(wanted, work[0][1][0].out.device) if wanted else ())
        for (group, slots), table in zip(work, tables, strict=True):
            if kernel is None or table is None:
                write_group(group, [slot.out for slot in slots], [slot.base for slot in slots])
            else:
                kernel.merge(*next(uploads), *slots[0].out.shape)


_Table = tuple[np.ndarray[Any, np.dtype[np.int64]], Numbers]
"""(4 experts + 2, n) and (experts, n): what `triton_kernel.merge` asks for."""


def _table(kernel: ModuleType, group: TaskGroup, slots: Sequence[WeightSlot]) -> _Table | None:
    """What the kernel needs to know of a group; None if it cannot do it."""
    first = slots[0].out
    rows, columns = first.shape
    if rows % _ALIGNED or columns % _ALIGNED or first.numel() >= _LONGEST or len(slots) > _MOST:
        return None
    addresses = np.empty((2 + 4 * len(group.terms), len(slots)), np.int64)
    scales = np.empty((len(group.terms), len(slots)))
    addresses[:2] = np.array([slot.addresses for slot in slots]).T
    for at, (stack, entries, weight) in enumerate(group.terms):
        chosen = np.array(entries)
        if stack.ups.dtype != stack.downs.dtype:
            return None
        told = addresses[2 + 4 * at : 6 + 4 * at]
        told[0] = stack.ups.data_ptr() + chosen * (stack.ups[0].nbytes)
        told[1] = stack.downs.data_ptr() + chosen * (stack.downs[0].nbytes)
        told[2], told[3] = stack.downs.shape[1], kernel.KINDS.index(stack.ups.dtype)
        scales[at] = stack.scales[chosen] * weight
    pointers = [0, 1, *(2 + 4 * at + part for at in range(len(group.terms)) for part in (0, 1))]
    return None if (addresses[pointers] % _ALIGNED).any() else (addresses, scales)


def _uploaded(tables: Sequence[_Table], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The tables on the device, their scales in float32."""
    addresses = torch.from_numpy(np.concatenate([table.ravel() for table, _ in tables])).to(device)
    scales = torch.from_numpy(np.concatenate([table.ravel() for _, table in tables])).to(device, torch.float32)
    parts = zip(
        addresses.split([table.size for table, _ in tables]),
        scales.split([table.size for _, table in tables]),
        tables,
        strict=True,
    )
    return [(one.view(table.shape), two.view(other.shape)) for one, two, (table, other) in parts]
