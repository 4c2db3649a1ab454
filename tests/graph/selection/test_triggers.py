"""Triggers in the user's own words: where they are missing, once, and nothing that was typed is touched."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgraph.graph.reading.split import split
from diffgraph.graph.selection.open_vocabulary import sampled_prompt
from diffgraph.graph.selection.triggers import says, with_triggers


@pytest.mark.parametrize(
    ("words", "triggers", "front", "end"),
    [
        ("a cat", ["pixel art style"], "pixel art style, a cat", "a cat, pixel art style"),
        ("a cat, Pixel Art  style", ["pixel art style"], None, None),
        ("a cat, (pixel_art_style:1.3)", ["pixel art style"], None, None),
        ("two axolotls", ["axolotl"], "axolotl, two axolotls", "two axolotls, axolotl"),
        ("a carpet", ["car"], "car, a carpet", "a carpet, car"),
        ("a cat", ["neon", "pixel art", "neon"], "neon, pixel art, a cat", "a cat, neon, pixel art"),
        ("a cat", ["pixel art", "pixel art style"], "pixel art style, a cat", "a cat, pixel art style"),
        ("a cat", ["", "  "], None, None),
        ("", ["neon"], "neon", "neon"),
        ("A fox on a hill.", ["neon"], "neon, A fox on a hill.", "A fox on a hill. neon"),
        ("(a fox", ["neon"], "neon, (a fox", "neon, (a fox"),
        ('a sign: "fox', ["neon"], 'neon, a sign: "fox', 'neon, a sign: "fox'),
        ("mychar \\(series\\), forest", ["mychar (series)"], None, None),
        ("a girl", ["saber (fate)"], "saber \\(fate\\), a girl", "a girl, saber \\(fate\\)"),
        ("a girl", ["saber \\(fate\\)"], "saber \\(fate\\), a girl", "a girl, saber \\(fate\\)"),
        ("a girl, saber (fate)", ["saber (fate)"], None, None),
        ("a girl, (saber_\\(fate\\):1.2)", ["saber (fate)"], None, None),
        ("((a fox)) BREAK [hat]", ["neon"], "neon, ((a fox)) BREAK [hat]", "((a fox)) BREAK [hat], neon"),
        ("ein Fuchs", ["neon"], "neon, ein Fuchs", "ein Fuchs, neon"),
    ],
)
def test_triggers_are_put_where_they_lack(words: str, triggers: list[str], front: str | None, end: str | None) -> None:
    assert with_triggers(words, triggers, "front") == (words if front is None else front)
    assert with_triggers(words, triggers, "end") == (words if end is None else end)


def test_text_to_write_says_no_trigger() -> None:
    request = split('a sign that says "axolotl"')
    assert sampled_prompt(request, ["axolotl"], "front") == 'axolotl, a sign that says "axolotl"'


_WORDS = st.text(st.sampled_from("abc ,.:()[]\"'_-<>|\\éж猫\n1"), max_size=60)
_TRIGGERS = st.lists(st.text(st.sampled_from("abc é_()猫"), max_size=8), max_size=4)


@settings(max_examples=200, deadline=None)
@given(_WORDS, _TRIGGERS, st.sampled_from(["front", "end"]))
def test_what_was_typed_stays_in_one_piece(words: str, triggers: list[str], position: str) -> None:
    made = with_triggers(words, triggers, position)  # type: ignore[arg-type]
    assert words.strip() in made
    assert all(says(made, t) for t in triggers if re.sub(r"[\s_\\]", "", t))
    assert with_triggers(made, triggers, position) == made  # type: ignore[arg-type]
