"""Looks at sources for the command line: one, or one after another until Ctrl-C, with a report at the end."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import DiffGraphError, ExternalError, UserError
from ..settings import Settings, user_path
from .console import out, say

if TYPE_CHECKING:
    from ..graph.experts.enrich import Enriched
    from ..graph.experts.expert import Expert
    from ..graph.experts.sources import Search
    from ..tools.register_experts import Scouting
    from ..tools.results import Refused

WATCH_SECONDS = 2.0
"""So often a folder that is watched is looked at; it is scanned only if names, sizes or times changed."""
HUB_SECONDS = 3600.0
"""So often a hub that is watched is asked."""
_NO_SOURCE = (
    "No source is set for {base}: say where the experts are, as in `diffgraph scout ~/loras` or `diffgraph scout "
    "huggingface --query ...`, or set DIFFGRAPH_SOURCES."
)
SETTLE_SECONDS = 1.0
"""What is being written into a watched folder is left alone until it was the same for so long."""
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SHOWN = 40


def seconds(text: str) -> float:
    """A duration as people type it: ``30s``, ``10m``, ``1h``, ``1d``. UserError for anything else, or less than 1 s."""
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h|d|)\s*", text.casefold())
    value = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 1 <= value <= 31 * 86400:
        raise UserError(f"{text!r} is no time to wait: write 30s, 10m, 1h or 1d.")
    return value


def run(
    settings: Settings,
    source: str | None,
    search: Search,
    limit: int | None,
    pause: float | None,
    *,
    again: bool = False,
) -> tuple[Scouting, bool]:
    """One look, or looks with a pause between them until Ctrl-C.

    Returns:
        All that was found, and whether Ctrl-C ended it.

    Raises:
        UserError: no such source or folder.
        ExternalError: the source cannot be reached, at the first look.
    """
    from ..tools.register_experts import Scouting
    from .progress import Progress

    total = Scouting()
    with ending() as stop, Progress() as progress:
        watched = _folder(source)
        before = ""
        looks = 0
        if pause is not None:
            what = source or "the sources of DIFFGRAPH_SOURCES"
            say(f"Watching {what}; Ctrl-C ends it.")
        while True:
            stamp = _stamp(watched) if pause is not None and watched else ""
            if not stamp or stamp != before:
                try:
                    total.add(_look(settings, source, search, limit, progress, stop, again=again and not looks))
                    before = stamp
                except DiffGraphError as error:
                    if pause is None or not looks:
                        raise
                    say(
                        str(error)
                    )  # a hub that is down, a graph that another process writes: the next look tries again
                    if isinstance(error, ExternalError) and error.retry_after:
                        stop.wait(error.retry_after)
                looks += 1
            if pause is None or stop.wait(pause if watched or pause != WATCH_SECONDS else HUB_SECONDS):
                return total, stop.is_set()
            _settle(watched, stop)


def _look(
    settings: Settings,
    source: str | None,
    search: Search,
    limit: int | None,
    progress: Any,
    stop: threading.Event,
    *,
    again: bool,
) -> Scouting:
    from ..agents.scout import scouting
    from ..graph.experts import sources
    from ..tools.context import Context
    from ..tools.register_experts import named, scouted

    with Context.open(settings, progress) as ctx:
        name, _, repo = (source or "").partition(":")
        folder = _folder(source)
        if folder is not None:
            return scouted(ctx, sources.get("folder", root=folder), search, limit, stop.is_set)
        if repo:
            return named(ctx, ctx.source(name), repo, stop.is_set, patience=settings.scout_patience)
        if not source and not ctx.source_names:
            raise UserError(_NO_SOURCE.format(base=ctx.profile.name))
        return scouting(ctx, source, search, limit=limit, stopped=stop.is_set, again=again)


def enrich(settings: Settings, source: str | None, *, again: bool) -> Enriched:
    """Ask a hub for the files of folders that are registered."""
    from ..tools.context import Context
    from ..tools.register_experts import enriched
    from .progress import Progress

    with ending() as stop, Progress() as progress, Context.open(settings, progress) as ctx:
        return enriched(ctx, ctx.source(source or "civitai"), again=again, stopped=stop.is_set)


def enriched_sentence(done: Enriched) -> str:
    """What asking for local files came to, in a line."""
    before = f", {done.before} asked for before" if done.before else ""
    text = f"{len(done.known)} known there, {done.unknown} not known{before}; {len(done.changed)} say more now."
    return text + (f" It ended early: {done.ended}" if done.ended else "")


def _folder(source: str | None) -> Path | None:
    """The folder or file that is meant, None for a source by name. UserError for a path to nothing."""
    if not source:
        return None
    path = user_path(source.removeprefix("folder:"))
    if path.is_dir() or path.is_file():
        return path
    if source.startswith(("/", "~", "./", "../", "folder:")):
        raise UserError(f"There is no folder or file {source.removeprefix('folder:')}.")
    return None


def _stamp(folder: Path | None) -> str:
    from ..graph.experts.sources.folder import Folder

    return Folder(folder).tree().stamp if folder is not None else ""


def _settle(folder: Path | None, stop: threading.Event) -> None:
    """Wait for as long as something is still being written into a watched folder, but not for ever."""
    for _ in range(30):
        before = _stamp(folder)
        if not before or stop.wait(SETTLE_SECONDS) or _stamp(folder) == before:
            return


@contextmanager
def ending() -> Iterator[threading.Event]:
    """Set at the first Ctrl-C (or a request to end), so that what is at work ends politely; the second one interrupts.

    Outside the main thread signals cannot be had: then nothing sets it.
    """
    stop = threading.Event()

    def politely(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, politely) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- what is told


MEASURED = " diffgraph calibrate --all measures them, where a critic fits the base (diffgraph critic list)."


def sentence(done: Scouting, *, looked_on: bool = False) -> str:
    """What was found, in a line."""
    parts = [f"{len(done.registered)} new", f"{len(done.refused)} refused"]
    named = (("changed", done.changed), ("moved", done.moved), ("missing", done.missing), ("twice here", done.same))
    parts += [f"{len(found)} {name}" for name, found in named if found]
    if done.unchanged:
        before = f" ({done.refused_before} of them refused: diffgraph scout --refused)" if done.refused_before else ""
        parts.append(f"{done.unchanged} unchanged{before}")
    text = ", ".join(parts) + "."
    if done.rest and not looked_on:
        text += " There is more: scout again to go on."
    text += "".join(f" It ended early: {why}" for why in done.ended)
    return text + (MEASURED if done.registered else "")


def show(found: Sequence[Expert]) -> None:
    """The first of what was registered, as a table."""
    from . import tables

    out.print(tables.experts(found[:_SHOWN], {}))
    if len(found) > _SHOWN:
        out.line_of(f"and {len(found) - _SHOWN} more: diffgraph experts")


def as_json(done: Scouting) -> dict[str, Any]:
    """The document of ``scout --json``."""
    return {
        "registered": [expert.id for expert in done.registered],
        "refused": [one.model_dump() for one in done.refused],
        "changed": done.changed,
        "moved": done.moved,
        "missing": done.missing,
        "same": [one.model_dump() for one in done.same],
        "unchanged": done.unchanged,
        "refused_before": done.refused_before,
        "rest": done.rest,
        "ended": done.ended,
    }


def refused(settings: Settings, source: str | None) -> list[Refused]:
    """What earlier looks refused (at one source, or below one folder), with the reason."""
    from ..graph.experts.scouted import Scouted
    from ..tools.results import Refused

    memory = Scouted(settings.root / "scouted.sqlite")
    folder = _folder(source)
    told = memory.refused("folder" if folder else source)
    places = [
        (name, seen) for name, seen in told if folder is None or Path(seen.place).is_relative_to(folder.resolve())
    ]
    return [Refused(repo=seen.place, why=seen.why) for _, seen in places]


def show_refused(told: Sequence[Refused]) -> None:
    """One line a place."""
    for one in told:
        out.line_of(f"{one.repo}: {one.why}")
    if not told:
        say("Nothing was refused.")
