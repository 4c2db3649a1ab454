"""A1111's weights of words, read exactly; nothing of the words is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgraph.merging.plan.prompt_weights import chunks, is_weighted, taken_off, words

CASES = {
    "a red fox": [[("a red fox", 1)]],
    "(red:1.3) fox": [[("red", 1.3), (" fox", 1)]],
    "(red) fox": [[("red", 1.1), (" fox", 1)]],
    "((red)) fox": [[("red", 1.21), (" fox", 1)]],
    "(((red)))": [[("red", 1.331)]],
    "[dull] fox": [[("dull", 1 / 1.1), (" fox", 1)]],
    "[[dull]]": [[("dull", 1 / 1.21)]],
    "(a (b:1.5) c:2) d": [[("a ", 2), ("b", 3), (" c", 2), (" d", 1)]],
    "((a) b)": [[("a", 1.21), (" b", 1.1)]],
    "(a [b] c)": [[("a ", 1.1), ("b", 1), (" c", 1.1)]],
    r"miku \(vocaloid\)": [[("miku (vocaloid)", 1)]],
    r"(miku \(vocaloid\):1.2)": [[("miku (vocaloid)", 1.2)]],
    r"a \\(b)": [[("a \\", 1), ("b", 1.1)]],
    "(red: 1.3 ) fox": [[("red", 1.3), (" fox", 1)]],
    "(red:.5)": [[("red", 0.5)]],
    "(red:-1)": [[("red", -1)]],
    "(ratio 4:3)": [[("ratio 4", 3)]],
    "(at 10:30) fox": [[("at 10:30", 1.1), (" fox", 1)]],
    "(year 2023:1.2)": [[("year 2023", 1.2)]],
    "(a:b)": [[("a:b", 1.1)]],
    "a :( fox": [[("a :( fox", 1)]],
    "fox :) here": [[("fox :) here", 1)]],
    "(red:1.2 fox": [[("(red:1.2 fox", 1)]],
    "red:1.2) fox": [[("red:1.2) fox", 1)]],
    "((red) fox": [[("(", 1), ("red", 1.1), (" fox", 1)]],
    "red BREAK blue": [[("red", 1)], [("blue", 1)]],
    "(red BREAK blue:1.5)": [[("red", 1.5)], [("blue", 1.5)]],
    "BREAK red BREAK": [[("red", 1)]],
    "BREAKFAST": [[("BREAKFAST", 1)]],
    "": [[]],
    "()": [[]],
}


@pytest.mark.parametrize("prompt", CASES)
def test_weights_are_those_of_a1111(prompt):
    found = [[(text, pytest.approx(weight)) for text, weight in some] for some in chunks(prompt)]
    assert found == CASES[prompt]
    assert is_weighted(prompt) == (len(found) > 1 or any(weight != 1 for _, weight in CASES[prompt][0]))


@pytest.mark.parametrize(
    ("prompt", "bare", "typed"),
    [
        ("a red fox", "a red fox", ()),
        ("a (red:1.3) fox", "a red fox", ("(red:1.3)",)),
        ("a ((red)) [dull] fox", "a red dull fox", ("((red))", "[dull]")),
        ("a cat (on the left)", "a cat (on the left)", ()),
        ("a BREAK b", "a b", ("BREAK",)),
        ("(a (b:1.5) c:2)", "a b c", ("(a (b:1.5) c:2)",)),
        (r"miku \(vocaloid\)", "miku (vocaloid)", ()),
        ("a train (at 10:30), (John 3:16)", "a train (at 10:30), (John 3:16)", ()),
        ("(year 2023:1.2)", "year 2023", ("(year 2023:1.2)",)),
    ],
)
def test_where_nothing_is_weighed_the_signs_go_and_are_named(prompt, bare, typed):
    assert taken_off(prompt) == (bare, typed)


@given(st.text(alphabet="ab :.1()[]\\B,", max_size=60))
def test_no_word_is_lost_whatever_the_brackets(prompt):
    letters = [c for c in prompt if c in "abB,"]
    assert [c for c in words(prompt) if c in "abB,"] == letters
    assert [c for c in taken_off(prompt)[0] if c in "abB,"] == letters
    assert words(words("a (b:1.2) c")) == "a b c"


def test_thousands_of_brackets_take_no_time():
    for hostile in (
        "(" * 20_000,
        "(" * 5_000 + ")" * 5_000,
        "a:" * 20_000,
        "(a" * 5_000,
        ":1" * 20_000,
        " " * 50_000 + "(",
    ):
        assert len(chunks(hostile)) == 1
