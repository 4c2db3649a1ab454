import json

import numpy as np
import pytest

from diffgraph.errors import ExternalError
from diffgraph.world.recipe import cards
from diffgraph.world.recipe.art import GUESTS, NPM_PACKAGES, RENDER, Art, _family, _filling, _wanted
from diffgraph.world.recipe.base import LENGTH, build_tokenizer, captions_for
from diffgraph.world.recipe.looks import BACKGROUNDS, SIZE, STYLES
from diffgraph.world.recipe.subjects import BASE, PACKS


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


def test_a_family_is_read_by_its_characters_or_by_the_names_it_is_given(tmp_path) -> None:
    pytest.importorskip("resvg_py")
    icons = {"octopus": {"body": '<rect width="8" height="16" fill="#ff0000"/>'}}
    for family, chars in (("new", {"1f419": "octopus"}), ("old", {})):
        (tmp_path / "@iconify-json" / family).mkdir(parents=True)
        (tmp_path / "@iconify-json" / family / "icons.json").write_text(json.dumps({"icons": icons}))
        (tmp_path / "@iconify-json" / family / "chars.json").write_text(json.dumps(chars))
    codes = {"octopus": "1F419"}
    by_character = _family(tmp_path, "new", codes)
    by_name = _family(tmp_path, "old", codes, {"1f419": "octopus"})
    assert by_name["octopus"].shape == (RENDER * 2, RENDER * 2, 4)
    assert np.array_equal(by_character["octopus"], by_name["octopus"])
    assert by_name["octopus"][40, 20].tolist() == [255, 0, 0, 255]
    with pytest.raises(ExternalError, match=r"old lacks \['octopus'\]"):
        _family(tmp_path, "old", codes)


def test_a_guest_is_drawn_as_large_as_the_house_draws() -> None:
    drawing = np.zeros((40, 40, 4), np.uint8)
    drawing[10:20, 5:25] = (200, 40, 40, 255)
    large = _filling(drawing)
    assert large.shape == drawing.shape
    alpha = large[..., 3]
    assert alpha[20, [1, 38]].min() == 255
    assert 18 <= (alpha[:, 20] > 127).sum() <= 22
    assert alpha[[2, 37]].max() == 0
    assert np.array_equal(_filling(np.zeros_like(drawing)), np.zeros_like(drawing))


def test_a_file_of_renders_says_which_drawings_are_guests() -> None:
    assert all(any(f"/{family}@" in package for package in NPM_PACKAGES) for family in GUESTS.values())
    assert [n for n in _wanted() if n.endswith(")")] == [f"{n} ({family})" for n, family in GUESTS.items()]


def test_every_subject_has_its_everyday_names_and_none_is_anothers(art: Art) -> None:
    names = cards.other_names()
    looks = {*(f"{s} style" for s in STYLES), *(f"{b} background" for b in BACKGROUNDS)}
    assert set(names) == {*BASE, *(c for pack in PACKS.values() for c in pack), *looks}
    for kind in (set(names) - looks, looks):
        said = [n.casefold() for subject, others in names.items() if subject in kind for n in (subject, *others)]
        assert len(said) == len(set(said))
    said = [n.casefold() for subject, others in names.items() for n in (subject, *others)]
    assert all(n == n.strip() and "," not in n and "(" not in n for n in said)
    assert {"ladybug", "fire truck", "puffer fish", "motorbike", "fiddle", "race car", "fries", "cell phone"} <= set(
        said
    )
    assert "- octopus (also: octopuses" in cards.subject_card(art, "sea-life", [])


def test_a_card_is_renamed_without_another_change(art: Art) -> None:
    card = cards.subject_card(art, "sea-life", [("octopus", "sample_0.png")])
    old = card.replace(cards.subject_bullets(["octopus"])[0], "- octopus (also: ocean)")
    assert old != card
    assert cards.renamed(old) == card == cards.renamed(card)


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
