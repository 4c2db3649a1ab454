"""What a merge will take on this device, from headers and two measured rates. Imports torch only for a device that is
no CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from ...bases.index import BaseIndex

ITEM_BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})
_COPY_BYTES = 64 * 2**20
_SIDE = 768


class Rates(BaseModel):
    """How fast a device copies (bytes/s, read and write counted once each) and multiplies in float32 (flop/s)."""

    model_config = ConfigDict(frozen=True)

    device: str
    copy_rate: float
    matmul_rate: float


class Load(BaseModel):
    """What one expert brings: its file, its deltas in float32, and the flops of adding its factors to the base."""

    model_config = ConfigDict(frozen=True)

    file_bytes: int
    delta_bytes: int
    flops: int


class Estimate(BaseModel):
    """``peak_bytes``: base, experts, merged weights and scratch on the device at once. ``seconds``: from files on disk
    (already in the page cache) to merged weights, the base being loaded. Both are of the order, not to the digit.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    dtype: str
    peak_bytes: int
    seconds: float
    bytes_moved: int
    flops: int


def estimate(
    base: BaseIndex, loads: Sequence[Load], targets: Sequence[str], dense: bool, rates: Rates, dtype: str
) -> Estimate:
    """Estimate a merge.

    Args:
        base: the base.
        loads: one for each expert of the plan that has a weight.
        targets: the weights that the plan changes.
        dense: whether the method forms full matrices of every part (TIES), or adds factors (a sum).
        rates: of the device.
        dtype: of the pipeline's weights.
    """
    item = ITEM_BYTES[dtype]
    sizes = [math.prod(base.shape(target) or ()) for target in targets]
    everything = sum(info.numel for _, _, info in base.params.values())
    touched, largest, parts = sum(sizes), max(sizes, default=0), len(loads)
    scratch = largest * 4 * (2 * parts + 4 if dense and parts > 1 else 3)
    deltas = sum(load.delta_bytes for load in loads)
    moved = sum(load.file_bytes + load.delta_bytes for load in loads) + touched * (item + 4 + 4 + item)
    flops = sum(load.flops for load in loads)
    if dense and parts > 1:
        moved += touched * 4 * 6 * parts  # each part is formed, ranked by magnitude, masked and added
    return Estimate(
        device=rates.device,
        dtype=dtype,
        peak_bytes=everything * item + touched * item + deltas + scratch,
        seconds=moved / rates.copy_rate + flops / rates.matmul_rate,
        bytes_moved=moved,
        flops=flops,
    )


def measure(device: str = "cpu") -> Rates:
    """The rates of a device, measured in well under a second.

    Args:
        device: "cpu", or a torch device such as "cuda" or "cuda:1", for which torch is imported.

    Raises:
        UserError: no such device, as `pick_device`.
    """
    return _measure_cpu() if device == "cpu" else _measure_torch(device)


def _measure_cpu() -> Rates:
    import numpy as np

    source, target = np.ones(_COPY_BYTES // 4, np.float32), np.empty(_COPY_BYTES // 4, np.float32)
    square = np.ones((_SIDE, _SIDE), np.float32)
    copy = _fastest(lambda: np.copyto(target, source))
    product = _fastest(lambda: square @ square)
    return Rates(device="cpu", copy_rate=2 * _COPY_BYTES / copy, matmul_rate=2 * _SIDE**3 / product)


def _measure_torch(device: str) -> Rates:
    import torch

    from .engine import pick_device

    where = pick_device(device)
    source = torch.ones(_COPY_BYTES, dtype=torch.float32, device=where)
    target, square = torch.empty_like(source), torch.ones(4096, 4096, device=where)

    def timed(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            work()
            torch.accelerator.synchronize()

        return run

    copy = _fastest(timed(lambda: target.copy_(source)))
    product = _fastest(timed(lambda: square @ square))
    return Rates(device=str(where), copy_rate=8 * _COPY_BYTES / copy, matmul_rate=2 * 4096**3 / product)


def _fastest(work: Callable[[], object], times: int = 4) -> float:
    """Seconds of the fastest of some runs, the first of which only warms up."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return max(min(seconds), 1e-9)
