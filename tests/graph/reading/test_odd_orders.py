"""Orders that cannot be, or are said twice or askew: obeyed or named, and never among the words that are drawn."""

from __future__ import annotations

import pytest

from diffgraph.graph.reading.split import split


@pytest.mark.parametrize(
    ("typed", "words", "named"),
    [
        ("a fox --ar 0:0", "a fox", "--ar 0:0"), ("a fox --ar 16:0", "a fox", "--ar 16:0"),
        ("a fox --ar abc", "a fox", "--ar abc"), ("a fox --ar 1:100", "a fox", "--ar 1:100"),
        (f"a fox --seed {'1' * 31}", "a fox", f"--seed {'1' * 31}"), ("a fox, seed -1", "a fox", "seed -1"),
        ("a fox --steps many", "a fox", "--steps many"), ("a fox --cfg 1e3", "a fox", "--cfg 1e3"),
        ("a fox, 7x7", "a fox", "7x7"), ("a fox 10000x10000", "a fox", "10000x10000"),
        ("aspect ratio 1:99 a fox", "a fox", "aspect ratio 1:99"), ("a fox, clip skip 99", "a fox", "clip skip 99"),
        ("(fox:1e9) in snow", "fox in snow", "(fox:1e9)"), ("(fox:nan)", "fox", "(fox:nan)"),
        ("(fox:1000)", "fox", "(fox:1000)"), ("a __color__ fox", "a fox", "__color__"),
        ("a {red|green} fox", "a red fox", "{red|green}"), ("BREAK", "", "BREAK"),
        ("a fox <lora:>", "a fox", "<lora:>"),
        ("a fox, seed 42 seed 43", "a fox", "seed 42"), ("a fox --ar 1:1 --ar 3:4", "a fox", "--ar 1:1"),
        ("a fox --ar 1:1, 512x768", "a fox", "--ar 1:1"), ("<lora:x:.5> fox <lora:X:.7>", "fox", "<lora:x:.5>"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_and_not_drawn(typed: str, words: str, named: str) -> None:
    request = split(typed)
    assert request.words == words
    assert {unmet.text for unmet in request.orders.not_possible} == {named}
    assert all(unmet.why for unmet in request.orders.not_possible)


def test_the_last_holds() -> None:
    orders = split("a fox, seed 42 seed 43 <lora:x:0.5> <lora:X:0.7>").orders
    assert (orders.seed, [(e.name, e.weight) for e in orders.experts]) == (43, [("X", 0.7)])


@pytest.mark.parametrize("weight", ["abc", "nan", "1e9"])
def test_an_expert_with_an_impossible_weight_keeps_its_own(weight: str) -> None:
    request = split(f"a fox <lora:axolotl:{weight}>")
    assert [(e.name, e.weight) for e in request.orders.experts] == [("axolotl", None)]
    assert [u.text for u in request.orders.not_possible] == [f"<lora:axolotl:{weight}>"]
    assert request.words == "a fox"


@pytest.mark.parametrize("typed", ["a fox <lora:axolotl:0.5", "<lora:axolotl:0.5 a fox"])
def test_a_tag_that_is_not_closed_is_obeyed(typed: str) -> None:
    request = split(typed)
    assert [(e.name, e.weight) for e in request.orders.experts] == [("axolotl", 0.5)]
    assert request.words == "a fox"


def test_orders_of_a_block_in_any_order() -> None:
    request = split("a fox, CFG scale: 7, Sampler: Euler a, Schedule type: Karras, Clip skip: 2, Steps: 20")
    orders = request.orders
    assert (request.words, orders.not_possible) == ("a fox", ())
    assert (orders.guidance, orders.sampler, orders.clip_skip, orders.steps) == (7, "Euler a Karras", 2, 20)


@pytest.mark.parametrize(
    "typed",
    [
        "a 7x7 cube",
        "a 4x4 truck",
        "a 24x36 poster",
        "fox at 12:30",
        "a train (at 10:30)",
        "(John 3:16)",
        r"a fox \[x\]",
    ],
)
def test_what_only_looks_like_an_order_is_drawn(typed: str) -> None:
    request = split(typed)
    assert (request.words, request.orders.not_possible, request.orders.emphasis) == (typed, (), ())


@pytest.mark.parametrize("door", ["\nNegative prompt: ", " --no "])
def test_a_typed_negative_keeps_its_weights(door: str) -> None:
    request = split(f"a fox{door}blurry, (bad hands:1.4), [[text]]")
    assert request.orders.negative == "blurry, (bad hands:1.4), [[text]]"
    assert request.excluded == ("blurry", "bad hands", "text")
    assert not split(f"a fox{door}blurry, text").orders.negative


@pytest.mark.parametrize(
    ("typed", "words", "excluded"),
    [
        ("没有树的狐狸", "狐狸", "树"), ("一只没有帽子的狐狸", "一只 狐狸", "帽子"), ("帽子なしの狐", "狐", "帽子"),
        ("狐狸没有红色的帽子", "狐狸", "红色的帽子"), ("木のない狐", "狐", "木"),
        ("a no-people landscape", "a landscape", "people"), ("a no-fly zone", "a no-fly zone", ""),
        ("do not show any text. a fox", "a fox", "text"),
    ],
)  # fmt: skip
def test_what_is_ruled_out_before_a_noun(typed: str, words: str, excluded: str) -> None:
    request = split(typed)
    assert request.words == words
    assert len(request.excluded) == bool(excluded)
    assert excluded in "".join(p.text for p in request.parts if p.kind == "exclusion")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("4 images of a fox", "a fox"), ("4 photos of a fox", "photos of a fox"),
        ("portrait orientation of a fox", "a fox"),
    ],
)  # fmt: skip
def test_no_scraps_of_an_order_stay(typed: str, words: str) -> None:
    assert split(typed).words == words


def test_a_name_with_brackets_of_its_own_is_weighed_whole() -> None:
    request = split(r"(saber \(fate\):1.2), (year 2023:1.1)")
    assert request.words == r"(saber \(fate\):1.2), (year 2023:1.1)"
    assert [(e.text, e.weight) for e in request.orders.emphasis] == [(r"saber \(fate\)", 1.2), ("year 2023", 1.1)]
