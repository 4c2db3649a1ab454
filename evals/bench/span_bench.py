"""``diffgraph bench span``: KnOTS, TSV-M and Core Space over four LoRAs at SDXL's shapes, here and at full size.

Ours merges every module that community LoRAs touch. The full-size SVD, which is what the papers' own code runs, is
timed at one module of every shape and projected by how many there are. Both see the same LoRAs; agreement is measured
against the full-size method in float64. Each way runs in a process of its own, which tells its peak memory.

``python -m diffgraph.evals.bench.span_bench METHOD span|full|float64 SCALE`` is such a process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ...files.atomic import write_bytes
from ...merging.deltas.delta import Delta
from ...merging.methods.method import Part, make
from ...merging.plan.merge_plan import Method
from . import full_size
from .merge_bench import Say, child
from .merge_inputs import ACTIVE, RANK, touched

FULL: dict[str, Callable[[Sequence[torch.Tensor]], torch.Tensor]] = {
    "knots": full_size.knots,
    "tsv_m": full_size.tsv_m,
    "core_space": full_size.core_space,
}
Shape = tuple[int, int]


def measure(out: Path, *, scale: str = "sdxl", say: Say = lambda text: None) -> dict[str, Any]:
    """Run the bench and write its result to ``out``.

    Returns:
        By method: ``span_s`` (all modules), ``full_s`` (projected over all modules), ``ratio``, ``span_peak_mb`` and
        ``full_peak_mb`` (resident memory over what the process held before it merged), ``worst`` (the largest relative
        Frobenius distance from the full-size method in float64 over the sample), ``sample`` (by shape).

    Raises:
        UserError: a process that failed.
    """
    counts = _counts(scale)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {}
    for method in FULL:
        ways = {}
        for way in ("span", "full", "float64"):
            say(f"{method}: {_WAYS[way]}")
            ways[way] = json.loads(child("span_bench", method, way, scale, str(out.parent)).splitlines()[-1])
        span, full = ways["span"], ways["full"]
        projected = sum(seconds * counts[_shape(name)] for name, seconds in full["sample_s"].items())
        rows[method] = {
            "span_s": span["all_s"],
            "full_s": projected,
            "ratio": projected / span["all_s"],
            "span_peak_mb": span["peak_mb"],
            "full_peak_mb": full["peak_mb"],
            "worst": max(ways["float64"]["distance"].values()),
            "modules": sum(counts.values()),
            "sample": {
                name: {"span_s": span["sample_s"][name], "full_s": full["sample_s"][name], "distance": distance}
                for name, distance in ways["float64"]["distance"].items()
            },
        }
        write_bytes(out, (json.dumps(rows, indent=2) + "\n").encode())
    return rows


_WAYS = {"span": "in the span", "full": "at full size", "float64": "at full size in float64, to compare"}


def table(measured: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows for a person; at full size the time is a projection over all modules."""
    columns = ["method", "in the span s", "full size s", "ratio", "peak MB", "full size peak MB", "distance"]
    rows = [
        [
            name, f"{row['span_s']:.1f}", f"{row['full_s']:.0f}", f"{row['ratio']:.0f}x", f"{row['span_peak_mb']:.0f}",
            f"{row['full_peak_mb']:.0f}", f"{row['worst']:.0e}",
        ]
        for name, row in measured.items()
    ]  # fmt: skip
    return columns, rows


def _counts(scale: str) -> Counter[Shape]:
    """Shape -> how many modules have it."""
    return Counter(touched(scale).values())


def _name(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"


def _shape(name: str) -> Shape:
    rows, columns = name.split("x")
    return int(rows), int(columns)


def loras(shape: Shape, seed: int) -> list[Delta]:
    """Four LoRAs of rank 32 with a common part: shared directions are what these methods are about."""
    draw = torch.Generator().manual_seed(seed)
    rank = min(RANK, min(shape) // ACTIVE)
    common = torch.randn(shape[0], rank, generator=draw), torch.randn(rank, shape[1], generator=draw)
    falling = torch.linspace(1.0, 0.2, rank)
    out = []
    for _ in range(ACTIVE):
        up = torch.randn(shape[0], rank, generator=draw) + 0.5 * common[0]
        down = torch.randn(rank, shape[1], generator=draw) + 0.5 * common[1]
        out.append(Delta(shape, up * falling, down))
    return out


def _span(method: str, deltas: Sequence[Delta]) -> Delta:
    parts = [Part(key=f"{i:064x}", delta=delta, weight=1.0, facet="subject") for i, delta in enumerate(deltas)]
    merged = make(Method(name=method)).merge(parts)
    assert merged is not None
    return merged


def run(method: str, way: str, scale: str, folder: Path) -> dict[str, Any]:
    """What one process measures; ``span`` leaves its sample in ``folder`` for ``float64`` to compare."""
    counts = _counts(scale)
    shapes = sorted(counts, key=lambda shape: shape[0] * shape[1])
    _span(method, loras((64, 64), 0))  # the first call loads the linear algebra library
    before = _peak_mb()
    found: dict[str, Any] = {"sample_s": {}, "distance": {}}
    if way == "span":
        found["all_s"] = _everywhere(method, counts)
        found["peak_mb"] = _peak_mb() - before
    for shape in shapes:
        deltas, kept = loras(shape, 1), folder / f"{method}-{_name(shape)}.pt"
        start = time.perf_counter()
        if way == "span":
            merged = _span(method, deltas)
            found["sample_s"][_name(shape)] = time.perf_counter() - start
            torch.save(merged.dense(), kept)
            continue
        whole = [delta.dense() if way == "full" else _double(delta) for delta in deltas]
        result = FULL[method](whole)
        found["sample_s"][_name(shape)] = time.perf_counter() - start
        if way == "float64":
            ours = torch.load(kept, weights_only=True).to(result.dtype)
            kept.unlink()
            found["distance"][_name(shape)] = float((ours - result).norm() / result.norm())
    return {"peak_mb": _peak_mb() - before, **found}


def _everywhere(method: str, counts: Counter[Shape]) -> float:
    """Seconds that the method takes over all modules; making their LoRAs is not counted."""
    seconds = 0.0
    for place, (shape, count) in enumerate(sorted(counts.items())):
        for index in range(count):
            deltas = loras(shape, 1000 * place + index)
            start = time.perf_counter()
            _span(method, deltas)
            seconds += time.perf_counter() - start
    return seconds


def _double(delta: Delta) -> torch.Tensor:
    assert delta.up is not None
    assert delta.down is not None
    return delta.up.double() @ delta.down.double()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))))
