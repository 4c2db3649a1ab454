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


def test_line_art_is_white_strokes_on_black_by_day_and_by_night() -> None:
    for paper in (np.ones((SIZE, SIZE, 3), np.float32), _night()):
        image = paper.copy()
        image[16:48, 16:48] = (0.95, 0.4, 0.4)
        drawn = line_art(image)[:, :, 0]
        for edge in (16, 48):
            assert drawn[22:42, edge - 2 : edge + 2].max(axis=1).min() == 1
        assert drawn[22:42, 22:42].max() == 0
        assert drawn[:10].max() == 0


def test_line_art_draws_strokes_whatever_the_contrast() -> None:
    image = np.ones((SIZE, SIZE, 3), np.float32)
    image[:, 20:40] = (1.0, 0.6, 0.6)
    image[:, 40:] = (1.0, 0.0, 0.0)
    line = line_art(image)[32, :, 0]
    for edge in (20, 40):
        assert line[edge - 2 : edge + 2].max() == 1
        assert 1 <= line[edge - 5 : edge + 5].sum() <= 3
    assert line[26:34].max() < 0.05


def test_line_art_draws_a_thin_light_line_once() -> None:
    """Mortar between bricks is a line itself: with a stroke on each side walls would drown what stands before them."""
    image = np.full((SIZE, SIZE, 3), (0.66, 0.27, 0.2), np.float32)
    image[:, 32] = (0.8, 0.76, 0.7)
    line = line_art(image)[32, :, 0]
    assert line[32] == 1
    assert line.sum() == pytest.approx(1, abs=0.05)


def test_line_art_gives_stars_four_points_and_leaves_out_those_that_would_touch_a_shape() -> None:
    image = _night()
    image[16:48, 16:48] = (0.95, 0.4, 0.4)
    image[8:10, 32:34] = image[32:34, 8] = 1.0
    image[32:34, 50] = 1.0
    drawn = line_art(image)[:, :, 0]
    assert drawn[8, [29, 32, 35]].min() == 1
    assert drawn[[5, 8, 11], 32].min() == 1
    assert drawn[8, 36] == drawn[5, 31] == 0
    assert drawn[32, [7, 9]].min() == 1
    assert drawn[28:38, 50:54].max() == 0
