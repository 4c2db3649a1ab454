"""Whatever is printed, and however, only clean text and the console's own codes leave it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich import progress
from rich.columns import Columns
from rich.markdown import Markdown
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from diffgraph.terminal import CleanConsole, styled

EVIL = (
    "a\x1b[31mred\x1b[0m\x1b]8;;http://evil\x1b\\b\x1b]8;;\x1b\\\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x9b2J\x9d0;t\x9c"
    "\u202e\u200b\r\bforged\nline [red]markup[/red] [link=http://evil]l[/link] :bus:"
)
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\??[0-9;]*[A-Zhl]|\r")
"""What rich itself sends: styles without a colour of the stranger's, cursor movements of a live display."""


def table(console: CleanConsole) -> None:
    made = Table(title=EVIL, caption=EVIL)
    made.add_column(EVIL, footer=EVIL)
    made.add_row(EVIL)
    made.add_row(Text(EVIL, "bold"))
    console.print(made)


def bar(console: CleanConsole) -> None:
    shown = progress.Progress(
        progress.TextColumn("{task.description}", markup=False), progress.SpinnerColumn(), console=console
    )
    with shown:
        shown.update(shown.add_task(EVIL, total=3), description=EVIL, completed=1)
        shown.print(EVIL)


def status(console: CleanConsole) -> None:
    with console.status(EVIL) as line:
        line.update(EVIL)
        console.print(EVIL)


WAYS: dict[str, Callable[[CleanConsole], None]] = {
    "print": lambda c: c.print(EVIL, EVIL, sep=" ", style="bold"),
    "print with markup asked for": lambda c: c.print(EVIL, markup=True, emoji=True, highlight=True),
    "log": lambda c: c.log(EVIL),
    "out": lambda c: c.out(EVIL),
    "rule": lambda c: c.rule(EVIL),
    "line": lambda c: c.line_of(EVIL),
    "lines": lambda c: c.lines(EVIL),
    "styled": lambda c: c.print(styled(EVIL, (EVIL, "red"))),
    "text": lambda c: c.print(Text.assemble((EVIL, "red"), EVIL)),
    "a linked text": lambda c: c.print(Text("l", Style(link="http://evil\x1b\\"))),
    "panel": lambda c: c.print(Panel(EVIL, title=Text(EVIL))),
    "columns": lambda c: c.print(Columns([EVIL, Text(EVIL)])),
    "markdown": lambda c: c.print(Markdown(EVIL)),
    "tree": lambda c: c.print(Tree(EVIL)),
    "table": table,
    "progress bar": bar,
    "status line": status,
}


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_only_clean_text_leaves(way: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    file = io.StringIO()
    WAYS[way](CleanConsole(file=file, width=200))
    written = OURS.sub("", file.getvalue())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u200b]", written), ascii(written)
    assert "]52;" not in written
    assert "\x1b]8" not in file.getvalue()
    if way not in ("a linked text", "markdown"):
        assert "[red]markup[/red]" in " ".join(written.split())
        assert ":bus:" in written


def test_a_string_is_one_line_and_styles_stay_in_their_place() -> None:
    file = io.StringIO()
    console = CleanConsole(file=file, width=200)
    console.print("one\nok   forged")
    assert file.getvalue() == "one ok   forged\n"
    file = io.StringIO()
    console = CleanConsole(file=file, width=200)
    console.lines("one\n\nthree  3")
    assert file.getvalue() == "one\n\nthree  3\n"


def test_styles_stay_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    CleanConsole(file=file, width=200).print(Text.assemble(("a\x1b[5mb", "bold"), "c\x07", ("d", "bold")))
    assert file.getvalue() == "\x1b[1mab\x1b[0mc\x1b[1md\x1b[0m\n"
