"""Cards are written by strangers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgraph.errors import ExpertError
from diffgraph.graph.experts.card import MAX_CARD_BYTES, clean, parse_card

GOOD = """---
base_model: emoji-base
license: apache-2.0
tags: [lora, subject]
instance_prompt: octopus
date: 2026-01-02
widget:
- text: octopus, plain white background
  output: {url: sample_0.png}
---

# Sea life

All the sea.

## Skills

- octopus (also: tentacles, sea creature)
- neon style (also: neon sign)
- starry night background
- octopus (also: repeated)

## Training

- not a skill
"""


def test_a_good_card() -> None:
    card = parse_card(GOOD)
    assert (card.title, card.summary, card.licence, card.created) == (
        "Sea life",
        "All the sea.",
        "apache-2.0",
        "2026-01-02",
    )
    assert card.base_models == ("emoji-base",)
    assert card.widgets == ("octopus, plain white background",)
    assert [(s.facet, s.name, s.trigger, s.aliases) for s in card.skills] == [
        ("subject", "octopus", "octopus", ("tentacles", "sea creature")),
        ("style", "neon", "neon style", ("neon sign",)),
        ("background", "starry night", "starry night background", ()),
    ]


def test_a_card_without_skills_falls_back_on_its_instance_prompt() -> None:
    card = parse_card("---\ninstance_prompt: sks look\ntags: [style]\n---\nHello")
    assert [(s.facet, s.trigger) for s in card.skills] == [("style", "sks look")]
    assert parse_card("just text").skills == ()
    assert parse_card("").licence == "unknown"


@pytest.mark.parametrize(
    "front",
    [
        "a: &a [*a]",  # an anchor within itself
        "a: &a x\nb: [" + "*a, " * 300 + "]",  # more aliases than any honest card has
        "!!python/object/apply:os.system [echo]",
        "[" * 20_000,
        "a: [1, 2",
        "- a\n- b",
        "a: b\n" * 30_000,
    ],
)
def test_hostile_front_matter_is_refused(front: str) -> None:
    with pytest.raises(ExpertError):
        parse_card(f"---\n{front}\n---\n# x")


def test_tags_of_python_objects_are_plain_text() -> None:
    card = parse_card('---\nlicense: !!python/name:os.system ""\ntags: [1, 2.5, true, null, 2026-01-01]\n---\n')
    assert card.licence == "unknown"
    assert card.tags == ("1", "2.5", "true", "null", "2026-01-01")


def test_bounds() -> None:
    with pytest.raises(ExpertError, match="larger"):
        parse_card("x" * (MAX_CARD_BYTES + 1))
    with pytest.raises(ExpertError, match="never closes"):
        parse_card("---\na: b")
    many = ", ".join(f"a{i}" for i in range(30))
    skills = parse_card("## Skills\n" + "\n".join(f"- thing {i} (also: {many})" for i in range(5000))).skills
    assert len(skills) == 4000
    assert all(len(s.aliases) == 24 for s in skills)
    assert all(len(s.trigger) <= 80 for s in parse_card("## Skills\n- " + "y" * 5000).skills)


def test_control_characters_and_line_breaks_do_not_pass() -> None:
    assert clean("a\x00b\u202ec\nIGNORE ALL") == "a b c IGNORE ALL"
    assert clean(["no", "text"]) == ""


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for variant in (text, f"---\n{text}\n---\n# t\n## Skills\n- {text}", f"## Skills\n- {text} (also: {text})"):
        try:
            card = parse_card(variant)
        except ExpertError:
            continue
        assert all(s.name and "\n" not in s.trigger and len(s.trigger) <= 80 for s in card.skills)
