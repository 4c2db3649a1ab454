"""A request split into atoms by rule; atoms of a model of language held against the user's words."""

from __future__ import annotations

import time

import pytest

from diffgraph.graph.calibration.reference_prompts import pool
from diffgraph.scoring.atoms import MOST, atoms, cleaned, covered
from diffgraph.scoring.request import WHOLE, Wanted

SAID = {
    "a cat": "subject: cat",
    "three cats": "subject: cat, count: three cats",
    "2 foxes and a pair of shoes": "subject: fox, count: two foxes, subject: shoe, count: two shoes",
    "many birds": "subject: bird, attribute: many birds",
    "red fox": "subject: fox, attribute: red fox",
    "a cat with a hat": "subject: cat, attribute: cat with a hat",
    "a cat with a hat and a scarf": "subject: cat, attribute: cat with a hat, attribute: cat with a scarf",
    "a black and white cat": "subject: cat, attribute: black and white cat",
    "a dog on a chair": "subject: dog, relation: dog on a chair, subject: chair",
    "a man riding a horse": "subject: man, relation: man riding a horse, subject: horse",
    "a cat sitting on a wooden floor": "subject: cat, relation: cat sitting on a wooden floor, subject: floor, "
    "attribute: wooden floor",
    "a fox jumps over a dog": "subject: fox, relation: fox jumping over a dog, subject: dog",
    "a dog running": "subject: dog, action: running",
    "a woman wearing a red scarf": "subject: woman, clothing: red scarf",
    "a shoe made of leather": "subject: shoe, attribute: shoe made of leather",
    "a glass of water on a white background": "background: white, subject: glass of water",
    "a house in watercolor style": "style: watercolor, subject: house",
    "a house in watercolor": "style: watercolor, subject: house",
    "a cat in a hat in black and white style": "style: black and white, subject: cat, relation: cat in a hat, "
    "subject: hat",
    "a pixel art castle in soft light": "style: pixel art, subject: castle, concept: soft light",
    "two hot air balloons": "subject: hot air balloon, count: two hot air balloons",
    "pixel art style": "style: pixel art",
    "an oil painting of a castle at night": "style: oil painting, subject: castle, background: night",
    "a fox in the style of Van Gogh": "style: Van Gogh, subject: fox",
    "a boat on a beach": "subject: boat, background: beach",
    "a castle, snowy mountains in the background": "subject: castle, background: snowy mountains",
    "close-up of a face": "concept: close-up, subject: face",
    'a sign that says "octopus"': "text: octopus, subject: sign",
    "a shop with the text 'Bean There' on it, please": "text: Bean There, subject: shop",
    "please draw me a happy robot": "subject: robot, attribute: happy robot",
    "There is a cat. The cat is black and has green eyes": "subject: cat, attribute: black cat, "
    "attribute: cat with green eyes",
    "masterpiece, best quality, 1girl, silver hair, 8k": "subject: girl, attribute: silver hair",
    "(red:1.2) ((fox)), <lora:x:0.7>": "subject: fox, attribute: red fox",
    "a teddy bear without a hat": "subject: teddy bear",
    "two red foxes left of a blue barn, watercolor, no people": "subject: fox, count: two foxes, attribute: red fox, "
    "relation: fox left of a blue barn, subject: barn, attribute: blue barn, style: watercolor",
    "a sign saying KEEP OUT": "text: KEEP OUT, subject: sign",
    "a t-shirt that says I love NY": "text: I love NY, subject: t-shirt",
    "a cake with the words Happy Birthday on it": "text: Happy Birthday, subject: cake",
    "a person holding a sign which reads STOP": "text: STOP, subject: person, relation: person holding a sign, "
    "subject: sign",
    "a man reading Harry Potter": "subject: man, relation: man reading Harry Potter",
    "a robot called Bob": "subject: robot called Bob",
    'a storefront reading "Bob\'s Burgers"': "text: Bob's Burgers, subject: storefront",
    "The scene shows a fisherman in a boat.": "subject: fisherman, relation: fisherman in a boat, subject: boat",
    "The painting depicts a ship at sea": "style: painting, subject: ship, background: sea",
    "five black cats and one white dog": "subject: cat, count: five cats, attribute: black cat, subject: dog, "
    "count: one dog, attribute: white dog",
    "exactly seven red balloons": "subject: balloon, count: seven balloons, attribute: red balloon",
    "a cute robot, white background": "subject: robot, attribute: cute robot, background: white",
    "a woman in a red dress dancing with a man in a tuxedo": "subject: woman, clothing: red dress, "
    "relation: woman dancing with a man, subject: man, clothing: tuxedo",
    "1girl, solo, school uniform": "subject: girl, clothing: school uniform",
    "running": "action: running",
    "a fox\r\n\r\na cat,\na dog BREAK night": "subject: fox, subject: cat, subject: dog, background: night",
    "a black cat with green eyes and a white dog with a red collar": "subject: cat, attribute: black cat, "
    "attribute: cat with green eyes, subject: dog, attribute: white dog, attribute: dog with a red collar",
    "two girls, one with red hair and one with blond hair": "subject: girl, count: two girls, "
    "attribute: girl with red hair, attribute: girl with blond hair",
    "a man is eating an apple while a woman is drinking water": "subject: man, relation: man eating an apple, "
    "subject: apple, subject: woman, relation: woman drinking water",
    "a rabbit that looks like a lion": "subject: rabbit, relation: rabbit looking like a lion",
    "a cat instead of a dog": "subject: cat",
    "four elephants, one of them is pink": "subject: elephant, count: four elephants, attribute: pink elephant",
    "a group of five people": "subject: person, count: five people",
    "an old woman, smiling, wearing a yellow coat, macro lens": "subject: woman, attribute: old woman, "
    "attribute: smiling woman, clothing: yellow coat, concept: macro lens",
    "a bronze statue of a horse": "subject: statue of a horse, attribute: bronze statue of a horse",
    "a teapot in the shape of an elephant": "subject: teapot, relation: teapot in the shape of an elephant",
    "a fire truck, a bus stop, running shoes": "subject: fire truck, subject: bus stop, subject: running shoe",
}


def shown(found: tuple[Wanted, ...]) -> str:
    return ", ".join(f"{one.facet}: {one.text}" for one in found)


@pytest.mark.parametrize("words", SAID)
def test_a_request_is_split_into_what_can_be_seen(words: str) -> None:
    assert shown(atoms(words)) == SAID[words]


@pytest.mark.parametrize("words", ["밤하늘 아래 고양이", "🦑", "???", "the and of"])
def test_what_cannot_be_split_stays_whole(words: str) -> None:
    assert atoms(words) == (Wanted(facet=WHOLE, text=words),)


def test_the_whole_is_asked_only_where_a_word_is_left_over() -> None:
    assert all(one.facet != WHOLE for words in SAID for one in atoms(words))
    assert not covered("a cat under a tree", [Wanted(facet="subject", text="cat")])
    (*_, last) = atoms("a cat, in the corner is a dog")
    assert last == Wanted(facet=WHOLE, text="a cat, in the corner is a dog")


def test_somebody_may_know_the_facet_of_a_stretch() -> None:
    assert shown(atoms("a castle, ghibli")) == "subject: castle, subject: ghibli"
    assert shown(atoms("a castle, ghibli", {"ghibli": "style"})) == "subject: castle, style: ghibli"


def test_atoms_are_bounded_and_nothing_of_a_long_request_is_lost() -> None:
    many = ", ".join(
        f"a {colour} {thing}" for colour in ("red", "blue") for thing in ("cat", "dog", "fox", "owl", "cow")
    )
    found = atoms(many)
    assert len(found) == MOST
    assert found[-1] == Wanted(facet=WHOLE, text=many)
    start = time.perf_counter()
    for hostile in ("a " * 50_000, "in " * 50_000, "(" * 50_000, "x" * 50_000, 'says "' * 9_000, "!" * 50_000):
        assert len(atoms(hostile)) <= MOST
    assert time.perf_counter() - start < 5


def test_what_a_model_says_must_be_the_users() -> None:
    words = "three red cats on a sofa (in the rain:1.2)"
    said = [
        Wanted(facet="count", text="three cats"),
        Wanted(facet="attribute", text="red   cat"),
        Wanted(facet="subject", text="octopus"),
        Wanted(facet="mood", text="sad cats"),
        Wanted(facet="relation", text="cats on a sofa"),
        Wanted(facet="attribute", text="Red cat"),
    ]
    *own, whole = cleaned(said, words)
    assert shown(tuple(own)) == "count: three cats, attribute: red cat, relation: cats on a sofa"
    assert whole == Wanted(facet=WHOLE, text="three red cats on a sofa in the rain")
    assert cleaned([*said, Wanted(facet="background", text="rain")], words)[-1].facet == "background"
    assert cleaned([Wanted(facet="subject", text="octopus")], words) == ()
    assert len(cleaned([Wanted(facet="subject", text=f"cat {n}") for n in range(40)], words)) == MOST


def test_every_prompt_of_the_pool_is_split_without_remainder() -> None:
    texts = [prompt.text for prompt in pool()]
    assert len(texts) == len(set(texts)) >= 150
    for text in texts:
        found = atoms(text)
        assert all(one.facet != WHOLE for one in found), text
        assert any(one.facet in ("subject", "style") for one in found), text
