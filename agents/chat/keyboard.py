"""The chat's keyboard: lines with history and completion, and no echo while a prompt is drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory

from ...settings import Settings
from .commands import COMMANDS, LEAVE


def lines_from_terminal(settings: Settings) -> Callable[[str], str]:
    """Asks for a line with a prompt sign. Raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C."""
    words = WordCompleter([*sorted(COMMANDS), LEAVE[0]], sentence=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(settings.root / "history")), completer=words)
    return session.prompt


@contextmanager
def no_echo() -> Iterator[None]:
    """What is typed meanwhile is not written over what is shown; it is the next line. Ctrl-C works as ever."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(keyboard, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
