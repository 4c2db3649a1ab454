import numpy as np
import pytest

from diffgraph.world.recipe.looks import BACKGROUNDS, SIZE, STYLES

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
