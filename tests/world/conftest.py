import numpy as np
import pytest

from diffgraph.world.recipe.art import RENDER, Art
from diffgraph.world.recipe.subjects import BASE, PACKS


@pytest.fixture(scope="session")
def art() -> Art:
    """Every name of the world with a drawing made of a few coloured boxes, so that no artwork has to be fetched."""
    names = sorted({*BASE, *(c for pack in PACKS.values() for c in pack)})
    count = len(names) + len(Art.rehearsed)
    rng = np.random.default_rng(0)
    drawings = np.zeros((2, count, RENDER * 2, RENDER * 2, 4), np.uint8)
    for family in drawings:
        for drawing in family:
            for _ in range(3):
                top, left = rng.integers(10, 60, 2)
                drawing[top : top + 30, left : left + 30] = (*rng.integers(0, 255, 3), 255)
    aliases = {n: ("animal", f"{n} thing") for n in names}
    return Art(names=names, aliases=aliases, house=drawings[0], icons=drawings[1])
