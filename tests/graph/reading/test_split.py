"""What people type is taken apart, and nothing is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffgraph.graph.reading.request import Request
from diffgraph.graph.reading.split import MOST_CHARACTERS, split


def whole(request: Request) -> bool:
    """Whether the parts lie side by side over the whole text."""
    ends = [0, *(p.end for p in request.parts)]
    return (
        [p.start for p in request.parts] == ends[:-1]
        and ends[-1] == len(request.text)
        and "".join(p.text for p in request.parts) == request.text
        and len(request.plain) == len(request.source)
        and all(p.why for p in request.left_out)
    )


# prompt, the words to draw, what is ruled out
EXCLUSIONS: list[tuple[str, str, tuple[str, ...]]] = [
    ("an octopus, but not in pixel art", "an octopus", ("pixel art",)),
    ("an octopus that isn't in pixel art", "an octopus", ("pixel art",)),
    ("a cat, don't use neon", "a cat", ("neon",)),
    ("don't draw a dog; a cat please", "a cat please", ("dog",)),
    ("I don't want a dog, draw a cat", "draw a cat", ("dog",)),
    ("do not use pixel art style; use blueprint", "use blueprint", ("pixel art style",)),
    ("avoid neon, a cat in line art", "a cat in line art", ("neon",)),
    ("a neon-free octopus", "a octopus", ("neon",)),
    ("a cat, free of neon", "a cat", ("neon",)),
    ("a crab rather than a lobster", "a crab", ("lobster",)),
    ("a cat instead of a dog, in neon", "a cat, in neon", ("dog",)),
    ("anything but a banana", "", ("banana",)),
    ("a guitar, everything except neon", "a guitar", ("neon",)),
    ("neither a cat nor a dog, a crab", "a crab", ("cat", "dog")),
    ("an owl without neon, just pencil", "an owl, just pencil", ("neon",)),
    ("a duck w/o background", "a duck", ("background",)),
    ("a cat without a hat, glasses or scarf, in neon", "a cat, in neon", ("hat", "glasses", "scarf")),
    ("a crab with no people in the background, neon style", "a crab, neon style", ("people",)),
    ("penguin, but without nothing in background", "penguin", ("background",)),
    ("a cage without a bird in it", "a cage", ("bird",)),
    ("a cat but no dog and no bird", "a cat", ("dog", "bird")),
    ("a cat without a hat and draw it in neon", "a cat and draw it in neon", ("hat",)),
    ("the owl should not be in pixel art style", "the owl", ("pixel art style",)),
    ("a crab, not blue but red", "a crab, but red", ("blue",)),
    ("draw a taxi, never in neon", "draw a taxi", ("neon",)),
    ("an octopus minus the neon", "an octopus", ("neon",)),
    ("leave the hat out, draw a cat", "draw a cat", ("hat",)),
    ("a cat, skip the hat, neon", "a cat, neon", ("hat",)),
    ("a banana sans background", "a banana", ("background",)),
    ("a dog (no hat) in blueprint style", "a dog in blueprint style", ("hat",)),
    ("please don't include any text or watermark, a lobster", "please, a lobster", ("text", "watermark")),
    ("a cat, negative prompt: dog, (hat:1.2)", "a cat", ("dog", "hat")),
    ("an octopus --no neon, blue --seed 4", "an octopus", ("neon", "blue")),
    ("a red fox not looking at the camera", "a red fox", ("looking at the camera",)),
    ("a woman not looking at the viewer, cat", "a woman, cat", ("looking at the viewer",)),
    ("a woman who does not look at the viewer", "a woman", ("look at the viewer",)),
    ("an owl not looking at us", "an owl", ("looking at us",)),
    ("a fox that isn't looking at us and a dog", "a fox and a dog", ("looking at us",)),
    ("a fox not looking at us in the snow", "a fox in the snow", ("looking at us",)),
    ("a dog not wearing a collar on a beach", "a dog on a beach", ("wearing a collar",)),
    ("a girl who is not smiling", "a girl", ("smiling",)),
    ("an axolotl wearing no hat", "an axolotl", ("hat",)),
    ("a house that has no windows", "a house", ("windows",)),
    ("a man with no name", "a man", ("name",)),
    ("kein Hund, sondern eine Katze", "eine Katze", ("dog",)),
    ("not a dog but a cat", "a cat", ("dog",)),
    ("a cat without a hat, but with a scarf", "a cat with a scarf", ("hat",)),
    ("fruit except bananas: a pineapple", "fruit: a pineapple", ("bananas",)),
]

HARMLESS = [
    "no problem, a crab", "not only a crab but also an owl", "why not an owl", "cannot wait to see a crab",
    "can't wait to see a crab", "No, I want a crab", "a no smoking sign", "a sugar-free cookie", "nothing but a banana",
    "a penguin that can't fly", "don't forget the hat", "don't worry, a crab", "a mouse trying to avoid a cat",
    "text in comic sans font", "an owl, if not too hard", "a clock, no. 5", "not bad, now an owl", "no doubt a crab",
    "I'd rather have a dog", "a never-ending road", "without doubt an owl",
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "words", "excluded"), EXCLUSIONS, ids=[c[0][:40] for c in EXCLUSIONS])
def test_what_is_ruled_out(prompt: str, words: str, excluded: tuple[str, ...]) -> None:
    request = split(prompt)
    assert (request.words, request.excluded) == (words, excluded)
    assert whole(request)


@pytest.mark.parametrize("prompt", HARMLESS)
def test_what_only_sounds_so(prompt: str) -> None:
    assert (split(prompt).words, split(prompt).excluded) == (prompt, ())


# prompt, the words to draw, orders that are not at their default
ORDERS: list[tuple[str, str, dict[str, object]]] = [
    ("a crab, seed 42, 512x768", "a crab", {"seed": 42, "width": 512, "height": 768}),
    ("a crab at 1024 by 768", "a crab", {"width": 1024, "height": 768}),
    ("a crab, size: 640 × 640 pixels", "a crab", {"width": 640, "height": 640}),
    ("a crab in portrait format 3:4", "a crab", {"aspect": (3, 4)}),
    ("cat in landscape orientation", "cat", {"aspect": (4, 3)}),
    ("a crab, 16:9", "a crab", {"aspect": (16, 9)}),
    ("a cat —ar 16:9", "a cat", {"aspect": (16, 9)}),
    ("a crab --ar 16:9 --seed 42 --steps 20 --cfg 7.5 --w 512 --h 768", "a crab",
     {"aspect": (16, 9), "seed": 42, "steps": 20, "guidance": 7.5, "width": 512, "height": 768,
      "not_possible": ({"text": "--ar 16:9", "why": "a size in pixels is ordered too: --w 512 holds"},)}),
    ("4 pictures of a crab", "a crab", {"images": 4}),
    ("give me three images of an owl", "give me an owl", {"images": 3}),
    ("a cat, 30 steps, cfg scale: 7", "a cat", {"steps": 30, "guidance": 7.0}),
    ("a cat, seed 1, seed 2", "a cat",
     {"seed": 2, "not_possible": ({"text": "seed 1", "why": "seed is ordered again: seed 2 holds"},)}),
    ("a portrait of a crab", "a portrait of a crab", {}),
    ("a clock at 3:45", "a clock at 3:45", {}),
    ("a staircase with 12 steps", "a staircase with 12 steps", {}),
    ("2x4 lumber and a 4x4 truck", "2x4 lumber and a 4x4 truck", {}),
    ("draw 2 cats and 7 seeds", "draw 2 cats and 7 seeds", {}),
    ("a runner taking 20 steps", "a runner taking 20 steps", {}),
    ("a climber taking 12 steps on ice", "a climber taking 12 steps on ice", {}),
    ("a robot made in 8 steps", "a robot made in 8 steps", {}),
    ("a man steps 20 feet forward", "a man steps 20 feet forward", {}),
    ("12 steps on ice", "12 steps on ice", {}),
    ("a fox, steps: 20", "a fox", {"steps": 20}),
    ("a fox, with 20 steps", "a fox", {"steps": 20}),
    ("draw a fox in 20 steps", "draw a fox", {"steps": 20}),
    ("a fox at 30 steps", "a fox", {"steps": 30}),
    ("a fox seed 3 20 steps cfg 7", "a fox", {"seed": 3, "steps": 20, "guidance": 7.0}),
    ("3 pictures of a fox", "a fox", {"images": 3}),
    ("3 pictures of grandma hanging on the wall", "3 pictures of grandma hanging on the wall", {}),
    ("draw 3 pictures of a coat hanging on the wall", "draw a coat hanging on the wall", {"images": 3}),
    ("a fox, 4 images", "a fox", {"images": 4}),
    ("a wall, three pictures", "a wall, three pictures", {}),
    ("a fox, Euler a", "a fox", {"sampler": "Euler a"}),
    ("Euler a", "", {"sampler": "Euler a"}),
    ("a fox, sampler euler a, 20 steps", "a fox", {"sampler": "euler a", "steps": 20}),
    ("a fox, sampler: DPM++ 2M Karras", "a fox", {"sampler": "DPM++ 2M Karras"}),
    ("a fox, using euler a", "a fox", {"sampler": "euler a"}),
    ("a fox. dpm++ 2m sampler. 4 images.", "a fox.", {"sampler": "dpm++ 2m", "images": 4}),
    ("Euler, portrait of a mathematician", "Euler, portrait of a mathematician", {}),
    ("a fox, simple, default", "a fox, simple, default", {}),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "words", "ordered"), ORDERS, ids=[c[0][:40] for c in ORDERS])
def test_orders_in_plain_words(prompt: str, words: str, ordered: dict[str, object]) -> None:
    request = split(prompt)
    assert request.words == words
    assert request.orders.model_dump(exclude_defaults=True) == ordered
    assert whole(request)


def test_experts_are_ordered_by_name_and_weight() -> None:
    request = split("<lora:sea-life:0.7:0.5> octopus <lyco:Detail Tweaker> <lora:x:te=0.5:unet=1> embedding:easy:1.1")
    got = [(e.kind, e.name, e.weight, e.text_weight) for e in request.orders.experts]
    assert got == [
        ("lora", "sea-life", 0.5, 0.7),
        ("lyco", "Detail Tweaker", None, None),
        ("lora", "x", 1.0, 0.5),
        ("embedding", "easy", 1.1, None),
    ]
    assert request.words == "octopus"


def test_weights_of_words_stay_in_the_words_and_do_not_hide_them() -> None:
    request = split("(octopus:1.3), ((flamingo)), [crab], goose:0.8")
    assert request.words == "(octopus:1.3), ((flamingo)), [crab], goose:0.8"
    assert {(e.text, e.weight) for e in request.orders.emphasis} == {
        ("octopus", 1.3), ("flamingo", 1.21), ("crab", 0.9091), ("goose", 0.8),
    }  # fmt: skip
    assert request.plain.replace(" ", "") == "octopus,flamingo,crab,goose"


def test_what_cannot_be_obeyed_is_named() -> None:
    request = split(
        "turtle BREAK waves, [crab:owl:0.5] [neon|halftone] <hypernet:x:1> --v 6 --style raw --foo 3 seed: 99999999999"
    )
    assert request.words == "turtle waves, owl neon"
    named = [u.text for u in request.orders.not_possible]
    assert named == [
        "BREAK", "[crab:owl:0.5]", "[neon|halftone]", "<hypernet:x:1>", "--v 6", "--style raw", "seed: 99999999999",
    ]  # fmt: skip
    assert [p.text for p in request.left_out] == ["--foo 3"]
    assert request.orders.seed is None
    assert whole(request)


def test_a_block_of_parameters_is_read_whole() -> None:
    block = (
        "a crab\nNegative prompt: neon, lowres\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 123, Size: 512x768, "
        'Model hash: abc, Model: xyz, Clip skip: 2, Lora hashes: "foo: abc, bar: def", Version: v1.6.0'
    )
    request = split(block)
    assert (request.words, request.excluded) == ("a crab", ("neon", "lowres"))
    orders = request.orders.model_dump(exclude_defaults=True, exclude={"not_possible"})
    assert orders == {
        "steps": 20, "sampler": "Euler a", "guidance": 7.0, "seed": 123, "width": 512, "height": 768, "model": "xyz",
        "clip_skip": 2,
    }  # fmt: skip
    named = [u.text for u in request.orders.not_possible]
    assert named == ["Model hash: abc", 'Lora hashes: "foo: abc, bar: def"', "Version: v1.6.0"]
    assert whole(request)


@pytest.mark.parametrize(
    ("prompt", "quoted"),
    [
        ('a sign that says "octopus"', ("octopus",)),
        ("a sign that says octopus in blueprint style", ("octopus",)),
        ("a castle with the words Happy New Year in neon style", ("Happy New Year",)),
        ("ein Schild „Krake“ und «chat» und 「タコ」", ("Krake", "chat", "タコ")),
        ("a 'merry christmas' card", ("merry christmas",)),
        ("the dogs' house and the cats' toys", ()),
        ('an octopus in "blueprint" style', ()),
        ('"an octopus in blueprint style"', ()),
        ('a screen 6" wide and 5" tall', ()),
    ],
)
def test_quoted_text_is_text_to_write(prompt: str, quoted: tuple[str, ...]) -> None:
    request = split(prompt)
    assert (request.quoted, request.words) == (quoted, prompt)
    assert all(q not in request.plain for q in quoted)
    assert whole(request)


_ORDERS = st.sampled_from(
    ["<lora:a:0.7>", "(cat:1.2)", "((dog))", "[owl]", "[a:b:0.5]", "[a|b]", "BREAK", "AND", "--ar 16:9", "--no neon",
     "--seed 42", "--v 6", "seed 3", "512x768", "in 3:4 format", "without a hat", "not in neon", "neon-free",
     '"octopus"', "Negative prompt: dog", "Steps: 20, Sampler: Euler", "instead of a dog", "neither a nor b", "—ar",
     "<lora:", "(((", ":1.3)", "[x:", "no", "not", "--"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_ORDERS | st.text(max_size=12), max_size=12).map(" ".join))
@example("")
@example("(" * 40 + ")" * 40)
@example("\"'„«「” --no")
def test_nothing_is_lost(text: str) -> None:
    assert whole(split(text))


@pytest.mark.parametrize(
    "odd", ["(", "[a:", '"', "not ", "no a, ", "<lora:", "--no ", "a:1.2 ", "neither or ", "'a ", "|"]
)
def test_long_odd_text_takes_no_longer_than_its_length(odd: str) -> None:
    text = odd * (MOST_CHARACTERS // len(odd))
    start = time.process_time()
    assert whole(split(text))
    assert time.process_time() - start < 2


def test_what_is_too_long_is_left_out_by_name() -> None:
    request = split("a cat " * 5000)
    assert [p.why for p in request.left_out] == ["is beyond 20,000 characters"]
    assert whole(request)
