"""The chat, line by line, without a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import termios
from collections.abc import Callable

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from diffgraph.agents.chat.keyboard import no_echo
from diffgraph.agents.chat.repl import chat
from diffgraph.settings import Settings
from diffgraph.terminal import CleanConsole
from diffgraph.tools.context import Context


def say(settings: Settings, *lines: str) -> str:
    """What the chat prints for these lines, with the end of input after them."""
    waiting = list(lines)

    def read(sign: str) -> str:
        if not waiting:
            raise EOFError
        line = waiting.pop(0)
        if line == "^C":
            raise KeyboardInterrupt
        return line

    out = io.StringIO()
    chat(settings, console=CleanConsole(file=out, width=160), read=read)
    return out.getvalue()


def test_a_session(make_settings: Callable[..., Settings]) -> None:
    text = say(
        make_settings(),
        "/help",
        "/seed 7",
        "/n 2",
        "octopus",
        "/plan blueprint octopus",
        "/experts",
        "/expert world/sea-life",
        "/quit",
        "pizza",
    )
    assert "/experts" in text
    assert "seed 7" in text
    assert "2 images a prompt" in text
    assert "accepted" in text
    assert "0001-octopus" in text
    assert "index.html" in text
    assert "subject: octopus by world/sea-life" in text
    assert "world/starry" in text
    assert "works; best at 0.9" in text
    assert "pizza" not in text.split("0001-octopus", 1)[1].replace("0001-octopus", "")


def test_errors_are_lines_and_the_session_goes_on(make_settings: Callable[..., Settings]) -> None:
    text = say(
        make_settings(), "/sed 3", "/seed x", "/n 0", "/expert world/sealife", "/plan", "", "^C", "tax law", "/seed 1"
    )
    assert "Did you mean /seed?" in text
    assert "/seed takes a whole number" in text
    assert "number of images" in text
    assert "world/sea-life" in text
    assert "The prompt is empty" in text
    assert "Nothing here draws 'tax law'" in text
    assert text.rstrip().endswith("seed 1")


def test_markup_in_a_prompt_is_only_text(make_settings: Callable[..., Settings]) -> None:
    text = say(make_settings(), "/expert [red]boo[/red]", "/[red]", "[bold]octopus[/bold]")
    assert "'[red]boo[/red]'" in text
    assert "There is no /[red]" in text


def test_the_terminal_prompt(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    out = io.StringIO()
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("/seed 5\n/quit\n")
        chat(settings, console=CleanConsole(file=out, width=100))
    assert "seed 5" in out.getvalue()
    assert "/seed 5" in (settings.root / "history").read_text()


def test_an_experts_share_beside_a_subject_is_told(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with Context.open(settings) as ctx:
        (found,) = ctx.store.calibrations("world/blueprint")
        ctx.store.put_calibration(found.model_copy(update={"coarse": 0.5}))
    told = "beside a subject best with 50% of its weight"
    assert told in say(settings, "/expert world/blueprint")
    assert told not in say(settings, "/expert world/starry")


def test_nothing_is_echoed_while_a_prompt_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as keyboard, os.fdopen(ours):
        monkeypatch.setattr(sys, "stdin", keyboard)
        before = termios.tcgetattr(theirs)
        with no_echo():
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
            assert termios.tcgetattr(theirs)[3] & termios.ISIG
        assert termios.tcgetattr(theirs) == before


def test_a_full_disk_is_a_line_too(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()

    def full(self: object, text: str) -> None:
        raise OSError(28, "No space left on device", "/x")

    with monkeypatch.context() as patch:
        patch.setattr("diffgraph.tools.context.Context.load_plan", full)
        text = say(settings, "octopus", "/seed 3")
    assert "The disk is full (/x)" in text
    assert text.rstrip().endswith("seed 3")


def test_the_chat_says_what_the_critic_sees_and_why(make_settings: Callable[..., Settings]) -> None:
    text = say(make_settings(), "/why", "octopus, blueprint style", "/why", "/why whale")
    drawn, after = text.split("index.html")
    assert "Nothing was drawn yet" in drawn
    for told in (drawn, after):
        assert re.search(r"✓ +octopus +subject +█+░* +0\.\d\d", told)
        assert re.search(r"[✓✗] +blueprint style +style +█+░* +0\.\d\d", told)
        assert "judged by world" in told
        assert "image_0.png" in told
    assert "world/blueprint × 0.90: it draws 'blueprint style'; measured" in after
    assert "round 1:" in after
    assert "it draws 'whale'" in after
