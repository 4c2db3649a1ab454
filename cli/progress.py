"""Shows on stderr how far a request is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich import progress as bars

from ..cleaning import clean
from ..terminal import styled
from ..tools.events import Event
from .console import err, say

QUIET = ("start", "node", "step", "tool", "brain", "checked")
"""Events that only move the bar."""


class Progress:
    """Shows a request's events: one line an event, and on a terminal a bar for what takes many steps.

    Use as a context manager. The instance is told of events.

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

    def __call__(self, event: Event) -> None:
        """One event; ``done`` and ``total`` move the bar."""
        text = " ".join(clean(event.text).split())
        if event.kind == "interrupted":
            self.folder = event.folder
            return
        self._bar.update(self._task, description=text[:70], completed=event.done, total=event.total)
        if event.kind not in QUIET:
            clock = "  " if event.t is None else f"{event.t:7.1f} s  "
            said = text.removeprefix(f"{event.kind} ")  # many a sentence begins with the word that stands before it
            err.line_of(styled((clock, "dim"), (f"{event.kind:<11} ", "cyan"), said))

    def count(self, done: int, total: int, text: str) -> None:
        """So much of a long piece of work is done; without a terminal, a line every so often."""
        kind = "step" if err.is_terminal else "done"
        self(Event(kind=kind, text=f"{done}/{total} {text}", done=done, total=total))


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on a terminal, a plain line elsewhere, while something takes over a second."""
    if err.is_terminal:
        with err.status(what):
            yield
    else:
        say(what)
        yield
