"""How fast a device copies and multiplies, measured. Imports torch only for a device that is no CPU."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..plan.estimate import DeviceRates

_COPY_BYTES = 64 * 2**20
_SIDE = 768


def measure(device: str = "cpu") -> DeviceRates:
    """The rates of a device, measured in well under a second.

    Args:
        device: "cpu", or a torch device such as "cuda" or "cuda:1", for which torch is imported.

    Raises:
        UserError: no such device, as `pick_device`.
    """
    return _measure_cpu() if device == "cpu" else _measure_torch(device)


def _measure_cpu() -> DeviceRates:
    import numpy as np

    source, target = np.ones(_COPY_BYTES // 4, np.float32), np.empty(_COPY_BYTES // 4, np.float32)
    square = np.ones((_SIDE, _SIDE), np.float32)
    copy = _fastest(lambda: np.copyto(target, source))
    product = _fastest(lambda: square @ square)
    return DeviceRates(device="cpu", copy_rate=2 * _COPY_BYTES / copy, matmul_rate=2 * _SIDE**3 / product)


def _measure_torch(device: str) -> DeviceRates:
    import torch

    from .device import pick_device

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
    return DeviceRates(device=str(where), copy_rate=8 * _COPY_BYTES / copy, matmul_rate=2 * 4096**3 / product)


def _fastest(work: Callable[[], object], times: int = 4) -> float:
    """Seconds of the fastest of some runs, the first of which only warms up."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return max(min(seconds), 1e-9)
