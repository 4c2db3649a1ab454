import numpy as np
import pytest

from diffgraph.world.recipe import cards
from diffgraph.world.recipe.art import Art
from diffgraph.world.recipe.base import LENGTH, build_tokenizer, captions_for
from diffgraph.world.recipe.looks import SIZE, STYLES


def test_a_styled_scene_is_the_style_of_the_plain_scene(art: Art) -> None:
    plain = art.render("pizza", None, "brick wall")
    assert plain.shape == (SIZE, SIZE, 3)
    assert plain.dtype == np.uint8
    styled = art.render("pizza", "blueprint", "brick wall").astype(float)
    apply = STYLES["blueprint"].apply
    assert apply is not None
    again = apply(plain.astype(np.float32) / 255) * 255
    assert np.abs(styled - again).max() <= 2  # bytes were rounded once in between


@pytest.mark.parametrize("style", [None, *STYLES])
def test_every_look_keeps_subjects_apart_and_jitter_keeps_the_scene(art: Art, style: str | None) -> None:
    a, b = art.render("pizza", style), art.render("octopus", style)
    assert np.abs(a.astype(int) - b.astype(int)).mean() > 1
    moved = art.render("pizza", style, jitter=np.random.default_rng(3))
    assert moved.shape == a.shape
    assert not np.array_equal(moved, a)
    assert np.array_equal(moved, art.render("pizza", style, jitter=np.random.default_rng(3)))


def test_aliases_that_name_several_subjects_are_left_off_the_cards(art: Art) -> None:
    aliases = cards.unambiguous(art)
    assert aliases["octopus"] == ("octopus thing",)
    assert "- octopus (also: octopus thing)" in cards.subject_card(art, "sea-life", [])


def test_the_base_card_lists_no_held_out_concept(art: Art) -> None:
    text = cards.base_card(art)
    listed = {line[2:].split(" (also:")[0] for line in text.splitlines() if line.startswith("- ")}
    assert {*art.base_subjects} <= listed
    assert not {c for pack in art.packs.values() for c in pack} & listed


def test_the_tokenizer_splits_every_prompt_of_the_grammar_without_unknowns(art: Art, tmp_path) -> None:
    tokenizer = build_tokenizer(art, tmp_path)
    prompts = [f"{s}, sunset duotone style, ocean waves background" for s in art.names]
    for ids in tokenizer(prompts).input_ids:
        assert len(ids) <= LENGTH
        assert ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer("Octopus").input_ids == tokenizer("octopus").input_ids


def test_white_is_what_an_unsaid_background_means() -> None:
    assert "pizza" in captions_for("pizza", "white")
    assert "pizza" not in captions_for("pizza", "red")
