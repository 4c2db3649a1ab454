"""The chat: type a prompt, watch the machine work, find the run folder."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import DiffGraphError
from ...files.disk_errors import disk_sentence
from ...graph.reading.request import Orders
from ...settings import Settings
from ...terminal import CleanConsole
from . import order_commands as order_commands
from .commands import LEAVE, run_command
from .drawing import draw
from .keyboard import lines_from_terminal, no_echo
from .session import Session

STOPPED = "Stopped. Nothing that was finished is lost: the same prompt goes on from what was drawn."


def chat(
    settings: Settings | None = None,
    *,
    orders: Orders | None = None,
    seed: int | None = None,
    n: int | None = None,
    console: CleanConsole | None = None,
    read: Callable[[str], str] | None = None,
) -> None:
    """Read lines until /quit or the end of input. An error is a line, and the session goes on; Ctrl-C stops the
    request at work.

    Args:
        settings: where and how; read from the environment if None.
        orders, seed, n: hold for every prompt until a command changes them.
        read: where lines come from (asked with the prompt sign); None asks the terminal, with history and completion.
    """
    settings = settings or Settings.load()
    console = console or CleanConsole()
    with Session(settings, console, seed=seed, n=n, orders=orders or Orders()) as session:
        ask = read or lines_from_terminal(settings)
        console.print("Type what to draw; /help lists the commands.")
        while True:
            try:
                line = ask("› ").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                continue
            if line.partition(" ")[0] in LEAVE:
                return
            _answer(session, line)


def _answer(session: Session, line: str) -> None:
    """Do what a line asks for; what goes wrong is a line too."""
    try:
        with no_echo():
            if line.startswith("/"):
                run_command(session, line)
            elif line:
                draw(session, line)
    except DiffGraphError as error:
        session.console.print(str(error), style="red")
    except OSError as error:
        sentence = disk_sentence(error)
        if sentence is None:
            raise
        session.console.print(sentence, style="red")
    except KeyboardInterrupt:
        session.console.print(STOPPED)
