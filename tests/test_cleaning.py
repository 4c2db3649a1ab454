"""Nothing that a terminal obeys, or that hides, is left in a text; ordinary writing stays."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgraph.cleaning import LIMIT, clean, is_clean, json_text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]8;;http://evil.example\x1b\\a link\x1b]8;;\x1b\\", "a link"),
        ("\x1b]52;c;ZXZpbA==\x07copied", "copied"),
        ("\x1b]0;title\x07named", "named"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x9b31mred", "red"),
        ("\x9d0;title\x9cnamed", "named"),
        ("\x1bPdevice\x1b\\ \x1b_app\x1b\\", " "),
        ("\x1bcreset\x1b(0", "reset"),
        ("\x1b[\x1b[31m31mx", "31mx"),
        ("ok\rno", "ok no"),
        ("one\r\ntwo\nthree\tfour\x0bfive\x85six\u2028seven", "one two three four five six seven"),
        ("a\bb\x07c\x00d\x7fe", "abcde"),
        ("safe\u202egpj.exe\u2066x\u200ey", "safegpj.exexy"),
        ("pay\u200bpal\ufeff \u2060a\u00adb\U000e0041", "paypal ab"),
        ("a\u200db \u200c", "ab "),
        ("half\ud83d", "half\ufffd"),
    ],
)
def test_what_goes(written: str, shown: str) -> None:
    assert clean(written) == shown


@pytest.mark.parametrize(
    "text",
    [
        "octopus, blueprint style",
        "Größe, naïve café, e\u0301",
        "漢字 かな 한글 русский עברית العربية",
        "می\u200cخواهم क्\u200dष",
        "🐙 👨\u200d👩\u200d👧 ❤️ 👍🏽 🇪🇺",
        "[bold]not markup[/bold] :bus: × … “quoted” — ½ €",
        "two  blanks",
    ],
)
def test_what_stays(text: str) -> None:
    assert clean(text) == text
    assert json_text(text)[1:-1] == text.replace("\u200c", "\\u200c").replace("\u200d", "\\u200d")


def test_the_length_is_bounded() -> None:
    assert len(clean("x" * 10**6)) == LIMIT
    assert clean("abcdef", 4) == "abc…"
    assert clean("x" * 10**6, None) == "x" * 10**6


@given(
    st.text(alphabet=st.characters(codec=None), max_size=60)
    | st.text("\x1b\x9b[]0;m\\\x07\n\u202e\u200dx", max_size=40)
)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in once)
    assert is_clean(once) or "\u200c" in once or "\u200d" in once


@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_json_says_the_same_without_what_a_terminal_obeys(text: str) -> None:
    written = json_text({"text": text})
    assert json.loads(written) == {"text": text}
    assert all(line == clean(line) for line in written.split("\n"))


@pytest.mark.parametrize("piece", ["\x1b[", "\x1b]", "\x1b[0", "\x9d", "\u200d", "\x1b[ ", "\n", "\x9b", "\x90a"])
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    started = time.perf_counter()
    clean(piece * 200_000, None)
    clean(piece[:-1] + piece[-1] * 400_000, None)
    assert time.perf_counter() - started < 3
