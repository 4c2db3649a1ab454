"""What strangers write costs time in proportion to its length, whatever it is made of."""

from __future__ import annotations

import time

import pytest

from diffgraph.graph.experts.card import parse_card, said_by
from diffgraph.graph.experts.skills import made_skills, short_title
from diffgraph.graph.experts.words.licences import one_licence
from diffgraph.graph.experts.words.plain import plain
from diffgraph.graph.experts.words.triggers import groups, in_text
from diffgraph.graph.experts.words.weights import recommended

PIECES = (
    " ",
    "(",
    " (also: ",
    "trigger word ",
    "use `",
    "`",
    '"',
    "weight ",
    "0.5-",
    "<a ",
    "[",
    "](",
    "**",
    "，",
    "触发词",
)
SECONDS = 3.0
"""Of CPU; what is not linear takes minutes."""


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_text_takes_no_time(piece: str) -> None:
    text = piece * (150_000 // len(piece.encode()))
    started = time.process_time()
    said_by(parse_card("## Skills\n- " + text + "\n## Trigger words: " + text))
    for read in (in_text, recommended, short_title, one_licence):
        read(text)
    plain(text, 2_000)
    made_skills(text[:200], groups([text]), description=text[:2_000])
    assert time.process_time() - started < SECONDS


def test_many_skills_take_no_time() -> None:
    line = "- thing" + " " * 1_900 + "(also: a\n"
    started = time.process_time()
    assert len(parse_card("## Skills\n" + line * 500).skills) == 1
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    ("title", "short"),
    [
        ("axolotl for stable-diffusion-xl-base-1.0", "axolotl"),
        ("axolotl for FLUX.1-dev", "axolotl"),
        ("Neon for SDXL 1.0", "Neon"),
        ("A toy for dogs", "A toy for dogs"),
    ],
)
def test_a_title_ends_before_the_base_it_names(title: str, short: str) -> None:
    assert short_title(title) == short
