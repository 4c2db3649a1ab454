"""Images with recipes in them, written as the programs write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffgraph.merging.plan.foreign.image_text import ImageTexts
from diffgraph.merging.plan.foreign.reader import recipe_in
from diffgraph.merging.plan.foreign.recipe import ForeignRecipe

Read = Callable[..., ForeignRecipe]


def png(path: Path, **texts: Any) -> Path:
    """A PNG with these texts; what is no string is written as JSON."""
    info = PngInfo()
    for name, value in texts.items():
        info.add_text(name, value if isinstance(value, str) else json.dumps(value))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.fixture
def recipe() -> Read:
    """The recipe in an image with these texts (keys with odd characters in a mapping)."""

    def read(texts: dict[str, Any] | None = None, **more: Any) -> ForeignRecipe:
        said = {**(texts or {}), **more}
        found = recipe_in(ImageTexts({k: v if isinstance(v, str) else json.dumps(v) for k, v in said.items()}))
        assert found is not None
        return found

    return read
