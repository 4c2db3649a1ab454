import numpy as np
import pytest

from diffgraph.world.recipe.looks import BACKGROUNDS, SIZE, STYLES, line_art

PROCEDURAL = [s for s in STYLES.values() if s.apply is not None]


def _image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((SIZE, SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("style", PROCEDURAL, ids=lambda s: s.name)
def test_a_style_is_a_pure_function_into_the_unit_range(style) -> None:
    image = _image(1)
    before = image.copy()
    first, second = style.apply(image), style.apply(image)
    assert np.array_equal(image, before)
    assert np.array_equal(first, second)
    assert first.shape == (SIZE, SIZE, 3)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1


def test_styles_and_backgrounds_look_different_from_one_another() -> None:
    image = BACKGROUNDS["green meadow"].paint()
    looks = [image, *(s.apply(image) for s in PROCEDURAL)]
    scenes = [b.paint() for b in BACKGROUNDS.values()]
    for group in (looks, scenes):
        for i, a in enumerate(group):
            for b in group[:i]:
                assert np.abs(a - b).mean() > 0.03


def test_the_ladder_has_every_rung() -> None:
    assert {s.rung for s in STYLES.values()} == {"tone", "contour", "texture", "family"}
    assert len(STYLES) >= 6
    assert len(BACKGROUNDS) >= 4


def _night() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), (0.05, 0.06, 0.2), np.float32)


def test_line_art_leaves_a_light_shape_whole_before_a_night_sky() -> None:
    """Its outline lies on the sky's grey wash, outside of the shape: drawn within, it would eat thin limbs away."""
    image = _night()
    image[20:44, 30:33] = (0.95, 0.4, 0.4)
    drawn = line_art(image)
    assert drawn[22:42, 31].min() > 0.9
    assert drawn[22:42, [28, 34]].max() < 0.2
    assert drawn[22:42, [10, 52]] == pytest.approx(0.28, abs=0.01)


def test_line_art_leaves_stars_without_an_outline() -> None:
    image = _night()
    image[30:32, 30:32] = 1.0
    drawn = line_art(image)
    assert drawn[30:32, 30:32].min() > 0.6
    assert drawn.min() > 0.25


def test_line_art_draws_strokes_whatever_the_contrast() -> None:
    image = np.ones((SIZE, SIZE, 3), np.float32)
    image[:, 20:40] = (1.0, 0.6, 0.6)
    image[:, 40:] = (1.0, 0.0, 0.0)
    ink = 1 - line_art(image)[32, :, 0]
    for edge in (20, 40):
        assert ink[edge - 2 : edge + 2].max() == 1
        assert 1 <= ink[edge - 5 : edge + 5].sum() <= 2.5
    assert ink[26:34].max() < 0.05


def test_line_art_fills_a_dark_feature() -> None:
    image = np.full((SIZE, SIZE, 3), (0.95, 0.8, 0.6), np.float32)
    image[30:33, 30:33] = 0.1
    drawn = line_art(image)
    assert drawn[31, 31].max() < 0.1
    assert drawn[:20].min() > 0.95


def test_line_art_outlines_a_shape_before_a_light_background() -> None:
    image = np.ones((SIZE, SIZE, 3), np.float32)
    image[20:44, 20:44] = (0.95, 0.4, 0.4)
    drawn = line_art(image)
    assert drawn[24:40, 20].max() < 0.1
    assert drawn[26:38, 26:38].min() > 0.9
