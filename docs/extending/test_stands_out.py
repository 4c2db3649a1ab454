"""An empty picture shows nothing, a square in the middle something."""

from __future__ import annotations

from PIL import Image

from diffgraph import Wanted
from diffgraph.bases import registry
from diffgraph.evals.judges.protocol import judge_for


def test_it_tells_something_from_nothing() -> None:
    empty, square = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
    square.paste((20, 40, 200), (16, 16, 48, 48))
    judge = judge_for(registry.chosen(None), "stands-out")
    nothing, something = judge.judge([empty, square], [Wanted(facet="subject", text="octopus")])
    assert not nothing.joint
    assert something.joint
    assert something.seen == {"subject": "something"}
    assert judge.similarity([empty], [empty]) == [1.0]
