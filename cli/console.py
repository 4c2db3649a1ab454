"""What the command line says and how it fails: one place for streams, sentences and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import typer
from rich import progress as bars
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from ..errors import DiffGraphError, UserError
from ..files.disk_errors import disk_sentence

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

QUIET = ("start", "node", "step", "tool", "brain", "checked")
"""Events that only move the bar."""

WIDE = 160
"""A table that is piped somewhere is not folded to the 80 columns of a terminal that is not there."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
"""Results. Nothing else is ever written to stdout."""
err = Console(stderr=True, highlight=False)
"""Progress and complaints."""


def say(text: str) -> None:
    """One plain line on stderr."""
    err.print(" ".join(text.split()), markup=False, soft_wrap=True)


def write_json(data: Any) -> None:
    """Exactly one JSON document on stdout."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


class Commands(TyperGroup):
    """Turns what a command raises into a sentence and an exit code; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("Stopped. What was finished (images, calibrations, the graph) is kept.")
            code = INTERRUPTED
        except UserError as error:
            say(str(error))
            code = USAGE
        except DiffGraphError as error:
            say(str(error))
            code = FAILED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has left: the rest goes nowhere
            code = FAILED
        except OSError as error:
            sentence = disk_sentence(error)
            if sentence is None:
                raise
            say(sentence)
            code = FAILED
        raise typer.Exit(code)


class Progress:
    """Shows a request's events on stderr: one line an event, and on a terminal a bar for what takes many steps.

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
            self._bar.console.print(Text.assemble((clock, "dim"), (f"{kind:<11} ", "cyan"), text), soft_wrap=True)

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
