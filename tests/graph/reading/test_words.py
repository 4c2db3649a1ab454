"""Singulars and small slips of the pen."""

from __future__ import annotations

import pytest

from diffgraph.graph.reading.words import keys_of, mend, singular


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("octopuses", "octopus"), ("octopi", "octopus"), ("buses", "bus"), ("cherries", "cherry"), ("foxes", "fox"),
        ("glasses", "glasses"), ("waves", "wave"), ("wolves", "wolf"), ("mice", "mouse"), ("geese", "goose"),
        ("volcanoes", "volcano"), ("mosquitoes", "mosquito"), ("potatoes", "potato"), ("cookies", "cookie"),
        ("ties", "tie"), ("selfies", "selfie"), ("children", "child"), ("dies", "die"), ("dice", "die"),
        ("axes", "axe"), ("prizes", "prize"), ("knives", "knife"), ("leaves", "leaf"), ("cacti", "cactus"),
    ],
)  # fmt: skip
def test_plurals_have_their_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


@pytest.mark.parametrize(
    "word",
    [
        "octopus", "bus", "gas", "lens", "cactus", "tennis", "iris", "dress", "glass", "canvas", "atlas",
        "news", "series", "this", "his", "us", "rhinoceros", "jeans", "maracas", "sunglasses", "scissors",
        "chess", "compass", "princess", "abacus", "specimen",
    ],
)  # fmt: skip
def test_what_is_no_plural_stays(word: str) -> None:
    assert singular(word) == word


def test_british_spelling_is_read_as_american() -> None:
    assert keys_of("grey Donuts, coloured") == ("gray", "doughnut", "colored")


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("octupus", "octopus"), ("cotopus", "octopus"), ("helicoptr", "helicopter"), ("saxaphone", "saxophone"),
        ("strwabrery", "strawberry"), ("crb", None), ("carb", None), ("octopus", None), ("crabx", "crab"),
        ("xctopus", None), ("swordfihs1", None),
    ],
)  # fmt: skip
def test_a_small_slip_is_mended_a_swap_counts_one(typed: str, right: str | None) -> None:
    assert mend(typed, ["octopus", "helicopter", "saxophone", "strawberry", "crab"]) == ((right,) if right else ())


def test_two_that_are_as_near_are_both_named() -> None:
    assert mend("boatt", ["boats", "boat"]) == ("boat", "boats")
    assert mend("coatx", ["coats", "coate"]) == ("coate", "coats")
