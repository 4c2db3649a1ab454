"""A process killed in the middle of a step, and another that goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from diffgraph.agents.runs.generate import resume
from diffgraph.settings import Settings

KILLED = """
import os, sys
from pathlib import Path
from diffgraph.agents.runs.generate import generate
from diffgraph.settings import Settings
settings = Settings(base=sys.argv[1], home=Path(sys.argv[2]), steps=2, device="cpu", sure=0.8)
def on_event(event):
    if event.kind == "sampled":  # the images are written, the step's checkpoint is not
        os._exit(9)
generate("octopus, blueprint style", settings=settings, on_event=on_event, compare=False)
"""


def test_a_killed_process_is_taken_up_by_another(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(settings.base), str(settings.root)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 9, done.stderr
    (run_dir,) = (settings.root / "runs").iterdir()
    made = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (settings.root / "images").rglob("*.png")}
    assert len(made) == 1
    result = resume(run_dir, settings=settings)
    assert result.status == "accepted"
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (settings.root / "images").rglob("*.png")} == made
    assert sum(e.kind == "merged" for e in result.trace) == 1
    assert [p.name for p in result.run_dir.glob(".*.tmp")] == []
