"""``make bench``: how fast four LoRAs become merged SDXL weights, here and in the engines that people use.

Every engine runs in a process of its own, at the same plans, on the same files; beside them stands the floor, what the
machine needs to move the bytes and multiply the factors. The result goes to ``bench/merge.json`` under the home.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.atomic import write_bytes
from ...merging.engine.device import pick_device
from .merge_contenders import Task, contenders, missing, to_json
from .merge_inputs import ACTIVE

Say = Callable[[str], None]
KNOWN = (4, 16, 64)
"""How many experts are known when four of them are merged."""
ROOM = {"sdxl": 9 * 2**30, "pico": 2**26}
"""Disk that base and experts take."""
PATIENCE_S = 90.0
"""An engine that takes longer than this is measured once; others three times, each in a fresh process."""
REPEATS = 3


def measure(
    out: Path,
    *,
    scale: str = "sdxl",
    engines: Sequence[str] = (),
    known: Sequence[int] = KNOWN,
    threads: int = 0,
    device: str = "cpu",
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Run the bench and write its result.

    Args:
        out: the JSON file to write; base and experts are made in a folder beside it, which is removed at the end.
        scale: "sdxl", or "pico" for a quick check.
        engines: names; all whose packages are here by default.
        known: numbers of known experts, each at least four.
        threads: threads of every engine; 0 leaves it to torch.
        device: "cpu", or a GPU ("cuda"), where base and merged weights then lie.
        say: told what is going on.

    Returns:
        ``result``: ``{"floor_s", "engines": {name: {"files_to_merged_s", "switch_s", "peak_rss_mb"}}}``, as written;
        ``details``: what else was measured, by engine, and under "floor" the machine's rates.

    Raises:
        UserError: an unknown engine or device, no room on the disk, or an engine's process that failed.
    """
    device = str(pick_device(device))
    if unknown := sorted(set(engines) - set(contenders())):
        raise UserError(f"there is no engine {unknown[0]!r}; the bench knows {', '.join(contenders())}")
    chosen = [name for name in contenders() if not engines or name in engines]
    known = sorted({ACTIVE, *known})
    if known[0] < ACTIVE:
        raise UserError(f"{ACTIVE} experts are merged, so at least {ACTIVE} are known")
    out.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(out.parent).free < ROOM[scale]:
        raise UserError(f"the bench needs {ROOM[scale] / 2**30:.0f} GB of disk in {out.parent}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=out.parent) as name:
        folder = Path(name)
        say(f"making a base of {scale} shapes and {known[-1]} LoRAs")
        child("merge_inputs", str(folder), scale, str(known[-1]))
        task = Task("floor", name, scale, tuple(known), 4, threads, device)
        details = {"floor": _run(task, folder)}
        say(f"the floor of this machine is {details['floor']['floor_s']:.3f} s")
        for engine in chosen:
            if (why := missing(engine, scale)) is not None:
                say(why)
                continue
            details[engine] = _engine(engine, task, folder, say)
            _write(out, details)
    return {"result": _write(out, details), "details": details}


def _write(out: Path, details: dict[str, Any]) -> dict[str, Any]:
    """Write what is measured so far: an engine that fails or is interrupted takes nothing of the others with it."""
    keys = ("files_to_merged_s", "switch_s", "peak_rss_mb")
    rows = {name: {key: found[key] for key in keys} for name, found in details.items() if name != "floor"}
    result = {"floor_s": round(details["floor"]["floor_s"], 4), "engines": rows}
    write_bytes(out, (json.dumps(result, indent=2) + "\n").encode())
    return result


def table(measured: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows for a person, each engine's times also as multiples of the floor."""
    result, details = measured["result"], measured["details"]
    known = sorted({k for row in result["engines"].values() for k in row["switch_s"]}, key=int)
    columns = [
        "engine",
        "base loaded s",
        "files to merged s",
        *(f"switch s, 4 of {k}" for k in known),
        "peak MB",
        "base MB",
        "GPU MB",
        "error",
    ]
    rows = [["floor", "", f"{result['floor_s']:.3f}", *(f"{result['floor_s']:.3f}" for _ in known), "", "", "", "1.00"]]
    for name, row in result["engines"].items():
        times = [row["files_to_merged_s"], *(row["switch_s"].get(k) for k in known)]
        cells = ["" if t is None else f"{t:.3f} ({t / result['floor_s']:.1f}x)" for t in times]
        more = details[name]
        memory = [row["peak_rss_mb"], more["base_rss_mb"], more.get("peak_device_mb")]
        memory_cells = ["" if mb is None else f"{mb:.0f}" for mb in memory]
        rows.append([name, f"{more['open_s']:.1f}", *cells, *memory_cells, f"{more['error']:.2f}"])
    return columns, rows


def _engine(name: str, task: Task, folder: Path, say: Say) -> dict[str, Any]:
    """One engine, in as many fresh processes as patience allows; medians over them."""
    runs: list[dict[str, Any]] = []
    start = time.perf_counter()
    while len(runs) < REPEATS and (not runs or time.perf_counter() - start < PATIENCE_S):
        say(f"{name}, run {len(runs) + 1}")
        _run(Task(**{**vars(task), "engine": "warm"}), folder)
        runs.append(_run(Task(**{**vars(task), "engine": name}), folder))
    out: dict[str, Any] = {
        key: round(statistics.median(run[key] for run in runs), 4)
        for key in ("files_to_merged_s", "peak_rss_mb", "base_rss_mb", "open_s", "error", "peak_device_mb")
        if key in runs[0]
    }
    counts = runs[0]["switch_s"]
    out["switch_s"] = {k: round(statistics.median(run["switch_s"][k] for run in runs), 4) for k in counts}
    out["runs"] = len(runs)
    switches = ", ".join(f"{seconds:.2f} s (4 of {known})" for known, seconds in out["switch_s"].items())
    say(f"{name}: {out['files_to_merged_s']:.2f} s from files to merged weights, a switch {switches}")
    return out


def _run(task: Task, folder: Path) -> dict[str, Any]:
    """What a child process measured."""
    spec = folder / "task.json"
    spec.write_text(to_json(task))
    measured: dict[str, Any] = json.loads(child("merge_contenders", str(spec)).splitlines()[-1])
    return measured


def child(module: str, *args: str) -> str:
    """Run a module of this package; its standard output. Raises UserError with the end of its complaints."""
    quiet = {"TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.{module}", *args],
        capture_output=True,
        text=True,
        env={**os.environ, **quiet, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        raise UserError(f"the bench's {module} {' '.join(args)} failed:\n{done.stderr[-2000:]}")
    return done.stdout
