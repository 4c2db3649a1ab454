"""Damage for the scorers' training images."""

import pytest
import torch

from diffgraph.world.recipe import scorer_pool as sp


@pytest.mark.parametrize("count", [0, 1, 5])
def test_damage_keeps_the_shape_whatever_the_count(count: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(count, 3, 64, 64) * 2 - 1
    for y in (sp.nudge(x, 3), sp.affine(x, scale=1.1, shift=0.05, turn=0.1), sp.blur(x, 16) if count else x):
        assert y.shape == x.shape
        assert bool(torch.isfinite(y).all())


def test_a_nudge_of_nothing_is_the_image_and_patches_keep_every_pixel() -> None:
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(sp.nudge(x, 0), x)
    assert torch.equal(sp.patches(x, 16).flatten().sort().values, x.flatten().sort().values)
