"""Grey is not colourful, red beside black is."""

from __future__ import annotations

from PIL import Image

from diffgraph.scoring import metrics


def test_it_measures_the_range_of_colours() -> None:
    grey, split = Image.new("RGB", (2, 2), (9, 9, 9)), Image.new("RGB", (2, 1))
    split.putpixel((0, 0), (255, 0, 0))
    assert metrics.make("colourful").measure([grey, split], ["octopus", "owl"]) == [0.0, 1.0]
