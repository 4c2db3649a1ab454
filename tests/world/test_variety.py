"""Looks of the base's own: bounded, repeatable, apart from those of experts, and captions that fit the tokenizer."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from diffgraph import world
from diffgraph.world.recipe import base, lora, variety
from diffgraph.world.recipe.art import Art
from diffgraph.world.recipe.looks import BACKGROUNDS, SIZE, STYLES
from diffgraph.world.recipe.subjects import COLORS, PACKS


@pytest.mark.parametrize("name", list(variety.STYLES))
def test_a_style_changes_every_picture_and_stays_in_range(name: str, art: Art) -> None:
    image = art.render("cat", None, "plain yellow").astype(np.float32) / 255
    before = image.copy()
    out = variety.STYLES[name](image)
    assert out.shape == (SIZE, SIZE, 3)
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert np.array_equal(image, before)
    assert np.abs(out - image).mean() > 0.01
    assert np.array_equal(out, variety.STYLES[name](image))


@pytest.mark.parametrize("pattern", list(variety.PATTERNS))
def test_a_pattern_shows_both_colours(pattern: str) -> None:
    scene = variety.named_scene(f"red and blue {pattern}")
    assert scene.shape == (SIZE, SIZE, 3)
    red, blue = (np.array(COLORS[c]) / 255 for c in ("red", "blue"))
    assert np.abs(scene - red).sum(-1).min() < 0.1
    assert np.abs(scene - blue).sum(-1).min() < 0.1


def test_a_name_that_is_no_pattern_is_an_error() -> None:
    for name in ("striped", "red and blue tartan", "red and mauve striped"):
        with pytest.raises((KeyError, ValueError)):
            variety.named_scene(name)


def test_no_look_of_the_base_is_an_experts() -> None:
    assert not set(variety.STYLES) & set(STYLES)
    assert not set(variety.PATTERNS) & set(BACKGROUNDS)


def test_the_base_sees_its_own_looks_on_its_own_subjects_only(art: Art) -> None:
    rows = variety.scenes(art.base_subjects, 900, 1)
    assert rows == variety.scenes(art.base_subjects, 900, 1)
    assert not {s for pack in PACKS.values() for s in pack} & {row[1] for row in rows}
    assert {row[2] for row in rows} == {None, *variety.STYLES}
    assert not {row[3] for row in rows} & set(BACKGROUNDS)
    assert all(row[1] in row[0] and (row[2] or "") in row[0] and row[3] in row[0] for row in rows)


def test_experts_of_looks_are_taught_beside_the_bases_looks_never_beside_each_other(art: Art) -> None:
    for style in STYLES:
        behind = {row[3] for row in lora.style_lesson(art, style, 1, 0).rows}
        assert any(b.split(" ")[-1] in variety.PATTERNS for b in behind)
        assert not behind & set(BACKGROUNDS)
    for background in BACKGROUNDS:
        styles = {row[2] for row in lora.background_lesson(art, background, 1, 0).rows}
        assert styles >= {None, "chalk"}
        assert not styles & set(STYLES)


def test_made_up_words_are_no_words_of_the_world() -> None:
    rng = np.random.default_rng(0)
    for caption in itertools.repeat("cat", 50):
        said = base.noisy_caption(rng, caption)
        assert said.startswith("cat, ")
        assert said.endswith((" style", " background"))


def test_captions_fit_the_text_encoder(art: Art) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(Path(world.__file__).parent / "hub" / "emoji-base" / "tokenizer")
    captions = [row[0] for row in variety.scenes(art.base_subjects, 900, 2)]
    captions += [row[0] for style in STYLES for row in lora.style_lesson(art, style, 1, 0).rows]
    captions += [row[0] for scene in BACKGROUNDS for row in lora.background_lesson(art, scene, 1, 0).rows]
    assert max(len(ids) for ids in tokenizer(sorted(set(captions))).input_ids) <= base.LENGTH
