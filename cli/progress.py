"""Shows on stderr how far a request is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich import progress as bars

from ..terminal import styled
from .console import err, say

QUIET = ("start", "node", "step", "tool", "brain", "checked")
"""Events that only move the bar."""


class Progress:
    """Shows a request's events: one line an event, and on a terminal a bar for what takes many steps.

    Use as a context manager. The instance takes run events; :meth:`emit` is the same for a tool context.

    Attributes:
        folder: the run folder of an interrupted request, once it is known.
    """

    def __init__(self) -> None:
        self.folder = ""
        self._bar = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=24),
            bars.TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event: ``kind``, ``text``, and details (``done`` and ``total`` move the bar)."""
        kind, text = str(event["kind"]), " ".join(str(event["text"]).split())
        if kind == "interrupted":
            self.folder = str(event.get("folder", ""))
            return
        total = event.get("total")
        self._bar.update(self._task, description=text[:70], completed=event.get("done", 0), total=total)
        if kind not in QUIET:
            clock = f"{event['t']:7.1f} s  " if "t" in event else "  "
            err.line_of(styled((clock, "dim"), (f"{kind:<11} ", "cyan"), text))

    def count(self, done: int, total: int, text: str) -> None:
        """So much of a long piece of work is done; without a terminal, a line every so often."""
        self(
            {
                "kind": "step" if err.is_terminal else "done",
                "text": f"{done}/{total} {text}",
                "done": done,
                "total": total,
            }
        )

    def emit(self, kind: str, text: str, details: Mapping[str, Any]) -> None:
        """One event as tools tell it."""
        self({**details, "kind": kind, "text": text})


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on a terminal, a plain line elsewhere, while something takes over a second."""
    if err.is_terminal:
        with err.status(what):
            yield
    else:
        say(what)
        yield
