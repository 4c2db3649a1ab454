"""What the command line says and how it fails: one place for streams, sentences and exit codes."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import typer
from typer.core import TyperGroup

from ..cleaning import clean, json_text
from ..errors import DiffGraphError, UserError
from ..files.disk_errors import disk_sentence
from ..terminal import CleanConsole

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

WIDE = 160
"""A table that is piped somewhere is not folded to the 80 columns of a terminal that is not there."""

out = CleanConsole(width=None if sys.stdout.isatty() else WIDE)
"""Results. Nothing else is ever written to stdout."""
err = CleanConsole(stderr=True)
"""Progress and complaints."""

_UsageError: Any = typer.BadParameter.__bases__[0]


def say(text: str) -> None:
    """One plain line on stderr."""
    err.line_of(" ".join(text.split()))


def write_json(data: Any) -> None:
    """Exactly one JSON document on stdout."""
    sys.stdout.write(json_text(data) + "\n")
    sys.stdout.flush()


class Commands(TyperGroup):
    """Turns what a command raises into a sentence and an exit code; a bug keeps its traceback."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _clean_usage():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _clean_usage():
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


@contextmanager
def _clean_usage() -> Iterator[None]:
    """What the command line was given may be names of a stranger's files; typer repeats it when it complains."""
    try:
        yield
    except _UsageError as error:
        error.message = clean(error.message) + _dashes(error)
        raise


def _dashes(error: Any) -> str:
    """What to say of words in the place of an option where the command takes a prompt."""
    typed = getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    if typed is None or context is None or all(each.name != "prompt" for each in context.command.params):
        return ""
    return f'. A prompt that begins with a dash goes behind `--`: {context.command_path} -- "{clean(typed)[:80]} …"'


class _Remarks(logging.Handler):
    """What libraries log, on stderr and clean."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    err.lines("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))


def clean_other_ways() -> None:
    """Let tracebacks, warnings and what libraries log reach stderr through `err` too."""
    sys.excepthook = _tell_bug
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, handlers=[_Remarks()])
