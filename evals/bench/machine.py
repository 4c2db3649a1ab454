"""The machine that the merge bench runs on: its floor, and the state that every engine finds it in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from .merge_inputs import ACTIVE, RANK, World, touched


def warm(world: World) -> dict[str, Any]:
    """Read all files into the page cache, and touch as much free memory as an engine may take.

    On a virtual machine the first touch of memory that the host had taken back costs seconds a gigabyte, and whichever
    engine came first would pay. In a process of its own, so that no engine's peak counts it.
    """
    for path in (world.unet, *world.experts, *world.kohya[:ACTIVE]):
        with path.open("rb") as file:
            while file.read(2**24):
                pass
    # As much as twice the base: a base and its merged copy; in huge and in small pages.
    pages = [torch.empty(2**26, dtype=torch.uint8).fill_(1) for _ in range(2 * world.unet.stat().st_size // 2**26)]
    return {"touched_mb": 64 * len(pages)}


def floor(scale: str, threads: int, device: str = "cpu") -> dict[str, Any]:
    """What no engine can beat here: the bytes that must move and the products that must be computed, at the rates that
    this device shows right now. Both at once would be faster still, but on a CPU the same cores do both. On a GPU the
    bytes are those of its own memory: what is merged from files must come over the bus, too, which is not counted.
    """
    if threads:
        torch.set_num_threads(threads)
    source = torch.rand(2**27, dtype=torch.bfloat16, device=device)
    copy = torch.empty_like(source)
    bandwidth = 2 * source.numel() * 2 / _best(lambda: copy.copy_(source), device)
    # A processor without bfloat16 emulates it hundreds of times slower; an engine is free to compute in float32 there.
    dtype = max((torch.bfloat16, torch.float32), key=lambda d: _matmul_rate(256, d, device))
    rate = _matmul_rate(2048 if device == "cpu" else 8192, dtype, device)
    sizes = touched(scale).values()
    weights = sum(rows * columns for rows, columns in sizes)
    factors = sum((rows + columns) * ACTIVE * RANK for rows, columns in sizes)
    moved, flops = 2 * (2 * weights + factors), 2 * weights * ACTIVE * RANK
    return {
        "floor_s": moved / bandwidth + flops / rate,
        "copy_s": moved / bandwidth,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "modules": len(sizes),
        "weights": weights,
        "copy_gb_s": bandwidth / 1e9,
        "matmul_gflop_s": rate / 1e9,
        "matmul_dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _matmul_rate(size: int, dtype: torch.dtype, device: str) -> float:
    """Operations a second of a product of two (size, size) matrices of random values."""
    a, b = (torch.rand(size, size, dtype=dtype, device=device) for _ in range(2))
    return float(2 * size**3 / _best(lambda: torch.mm(a, b), device))


def _best(run: Callable[[], object], device: str, repeats: int = 7) -> float:
    """Shortest of several runs after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        settle(device)
        start = time.perf_counter()
        run()
        settle(device)
        times.append(time.perf_counter() - start)
    return min(times)


def settle(device: str) -> None:
    """Wait for what a GPU still has to do."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
