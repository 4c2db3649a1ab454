"""Run folders: one a request, everything in it appears whole or not at all."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import UserError
from ...files.atomic import write_bytes
from ...settings import user_path
from ...tools.events import Emit, Event, silent

_NUMBERED = re.compile(r"(\d{4,9})-")
REQUEST, RESULT, TRACE, PAGE = "run.json", "result.json", "trace.jsonl", "index.html"


def new(root: Path, prompt: str) -> Path:
    """A fresh folder ``runs/0007-octopus-blueprint-style``; two processes never get the same one."""
    runs = root / "runs"
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.casefold())[:40].strip("-") or "run"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        taken = [int(found[1]) for p in runs.iterdir() if (found := _NUMBERED.match(p.name))]
        for number in itertools.count(max(taken, default=0) + 1):
            path = runs / f"{number:04d}-{slug}"
            # The number alone must be free, whatever the prompt of the other process was.
            if any(runs.glob(f"{number:04d}-*")):
                continue
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise UserError(
            f"{runs} cannot be written ({error.strerror}). Set DIFFGRAPH_HOME to a folder of yours."
        ) from error
    raise AssertionError("there is always a next number")


def run_id(run_dir: Path, plan_id: str) -> str:
    """What the graph calls a run: its folder's name, made of letters, digits, dots, dashes and underscores; a folder
    that the user named is told from others of its name by the plan.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", run_dir.name)[:100]
    return name if run_dir.parent.name == "runs" else f"{name}-{plan_id[:12]}"


def given(path: Path) -> Path:
    """A folder that the user named. It must be new, empty, or hold an earlier run, whose files are replaced."""
    path = user_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {p.name for p in path.iterdir()}
        if names and REQUEST not in names:
            raise UserError(f"{path} holds files that are not a run of DiffGraph. Name a new or empty folder.")
        for name in names:
            if re.fullmatch(r"(image|compare)_\d+\.png", name) or name in (
                RESULT,
                TRACE,
                PAGE,
                "plan.json",
                "scores.json",
            ):
                (path / name).unlink()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def write_json(path: Path, value: object) -> None:
    """Sorted, indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that :func:`write_json` wrote. Raises UserError if it is not there or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no {path.name} in {path.parent}: it is not a run of DiffGraph.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged.")
    return value


def put_image(run_dir: str | Path, name: str, source: Path) -> str:
    """Copy a kept image into a run folder; returns its name there."""
    write_bytes(Path(run_dir) / name, source.read_bytes())
    return name


class Trace:
    """The events of a run, written as they happen; an :data:`Emit <diffgraph.tools.events.Emit>`.

    Sampling steps are passed on but not written. Times are seconds of work: of a resumed run, the interruption is
    left out.
    """

    def __init__(self, path: Path, listener: Emit = silent) -> None:
        self.path, self.listener = path, listener
        self._lock = threading.Lock()
        self._before = max((e.t or 0.0 for e in read_trace(path)), default=0.0)
        self._start = time.perf_counter()

    def __call__(self, event: Event) -> None:
        event = event.model_copy(update={"t": round(self._before + time.perf_counter() - self._start, 3)})
        if event.kind != "step":
            line = json.dumps(event.model_dump(mode="json", exclude_unset=True), ensure_ascii=False, sort_keys=True)
            try:
                with self._lock, self.path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise UserError(f"{self.path} cannot be written: {error.strerror}.") from error
        self.listener(event)


def read_trace(path: Path) -> list[Event]:
    """The events of a trace; a last line that a crash cut short is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            event = Event.model_validate_json(line)
        except ValidationError:
            continue
        if event.t is not None:
            events.append(event)
    return events


def timings(trace: Sequence[Event]) -> dict[str, float]:
    """Seconds in each node, until the first image (``first_image``), and in all (``total``)."""
    out: dict[str, float] = {}
    for event in trace:
        if event.kind == "node":
            out[event.node] = round(out.get(event.node, 0.0) + event.seconds, 3)
        elif event.kind == "written":
            out.setdefault("first_image", event.t or 0.0)
    if trace:
        out["total"] = round(max(e.t or 0.0 for e in trace), 3)
    return out
