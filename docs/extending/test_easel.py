"""What the program wrote is read; odd values are passed over, and what is not known is told."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffgraph.merging.plan.foreign.reader import read_recipe


def test_it_reads_an_image(tmp_path: Path) -> None:
    brush = {"brush": "ink", "brush_sum": "0123456789", "pressure": 0.8}
    said = {"wish": "a mill", "seed": "odd", "frame": "gold", **brush}
    info = PngInfo()
    info.add_text("easel", json.dumps(said))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    found = read_recipe(tmp_path / "a.png")
    assert (found.tool, found.prompt, found.seed) == ("Easel", "a mill", None)
    assert [(one.name, one.hashes, one.weight) for one in found.experts] == [("ink", ("0123456789",), 0.8)]
    assert [(one.name, one.value) for one in found.extras] == [("frame", "gold")]
