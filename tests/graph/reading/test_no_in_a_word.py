"""A "no" that is the beginning of a word rules nothing out."""

from __future__ import annotations

import pytest

from diffgraph.graph.reading.split import split


@pytest.mark.parametrize("prompt", ["a no-nonsense detective", "a no-frills hotel room", "a no-brainer on a poster"])
def test_no_as_the_beginning_of_a_word(prompt: str) -> None:
    assert not split(prompt).excluded


def test_no_before_a_thing_still_rules_it_out() -> None:
    assert split("a detective, no hat").excluded == ("hat",)
