"""Calibrates every expert of a base, killed (SIGKILL) at random moments until nothing is left to do.

``python killed_calibration.py BASE HUB HOME CRITIC KILLS SEED`` prints JSON: what was finished at each kill, at the
end, and the calibrations. Children are forked from a process that has imported everything, so that each attempt takes
its own work and no more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import diffusers  # noqa: F401  (what a child would import)
import torch

from diffgraph.agents.calibrator import calibrate
from diffgraph.agents.scout import scout
from diffgraph.bases.profile import MeasureRules
from diffgraph.merging.engine import engine  # noqa: F401
from diffgraph.merging.sampling import pipeline  # noqa: F401
from diffgraph.settings import Settings
from diffgraph.tools.context import Context, Machinery

RULES = MeasureRules(references=3, strengths=(0.0, 0.5, 1.0))
"""Few prompts: what is tried is the interruption."""
SLOWEST = 600.0
"""Seconds that one attempt may take."""


def finished(home: Path) -> dict[str, tuple[int, int]]:
    """Every finished image: path -> (inode, time of writing)."""
    found = {}
    for path in (home / "images").rglob("*.png"):
        told = path.stat()
        found[path.relative_to(home).as_posix()] = (told.st_ino, told.st_mtime_ns)
    return found


def work(base: str, hub: str, home: Path, critic: str) -> None:
    torch.set_num_threads(1)
    settings = Settings(
        base=base, sources=f"folder:{hub}", home=home, steps=2, device="cpu", critic=critic, batch=4, threads=1
    )
    with Context.open(settings) as ctx:
        if not ctx.store.experts(ctx.family):
            scout(ctx)
        profile = ctx.profile.model_copy(update={"measure": RULES})
        brief = replace(ctx, machinery=Machinery(settings, profile))
        found = [one.model_dump(mode="json") for one in calibrate(brief)]
        stored = [c.model_dump(mode="json") for c in ctx.store.calibrations()]
    (home / "done.json").write_text(json.dumps({"found": found, "stored": stored}))


def attempt(base: str, hub: str, home: Path, critic: str, after: int | None, chance: random.Random) -> bool:
    """Work in a child, killed once ``after`` images are finished (None: never); whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(base, hub, home, critic)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    start = time.monotonic()
    while time.monotonic() - start < SLOWEST:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(f"calibration ended with {status}")
            return True
        if after is not None and len(finished(home)) >= after:
            break
        time.sleep(0.005)
    time.sleep(chance.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    base, hub, home, critic, kills, seed = sys.argv[1:]
    chance, root = random.Random(int(seed)), Path(home)
    snapshots: list[dict[str, tuple[int, int]]] = []
    for _ in range(int(kills)):
        if attempt(base, hub, root, critic, len(finished(root)) + chance.randint(0, 6), chance):
            break
        snapshots.append(finished(root))
    else:
        attempt(base, hub, root, critic, None, chance)
    told = {"kills": snapshots, "end": finished(root), **json.loads((root / "done.json").read_text())}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
