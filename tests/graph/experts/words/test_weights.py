"""Weights that authors recommend in running text."""

from __future__ import annotations

import pytest

from diffgraph.graph.experts.words.weights import recommended


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Recommended weight: 0.6-0.8", (0.7, 0.6, 0.8)),
        ("weight is usually 0.5 to 0.7", (0.6, 0.5, 0.7)),
        ("权重：0,8", (0.8, None, None)),
        ("use 0.4~0.6 weight", (0.5, 0.4, 0.6)),
        ("<lora:fox_v1:0.7>", (0.7, None, None)),
        ("Weight: between 1 and 0.6", (0.8, 0.6, 1.0)),
    ],
)
def test_a_number_or_a_range(text: str, found: tuple[float, float | None, float | None]) -> None:
    told = recommended(text)
    assert told is not None
    assert (told.weight, told.low, told.high) == found


@pytest.mark.parametrize("text", ["", "weight 40 kg", "trained on 40 images", "weights of the base", "strength 15"])
def test_no_weight(text: str) -> None:
    assert recommended(text) is None
