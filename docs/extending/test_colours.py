"""Red is red, blue is not, and what is no colour is not judged."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.scoring import protocol
from diffgraph.scoring.request import Wanted


def test_it_judges_colours(tmp_path: Path) -> None:
    base = BaseProfile(name="mine", where=str(tmp_path), ref="folder:mine")
    colours = protocol.make("colours", protocol.CriticSetup(base))
    assert isinstance(colours, protocol.Critic)
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    wanted = [Wanted(facet="background", text="plain red background")]
    hit, miss = colours.score([red, blue], wanted)
    assert hit.score == 1.0
    assert miss.score < 0.5
    (unknown,) = colours.score([red], [Wanted(facet="subject", text="octopus")])
    assert "does not know" in unknown.findings[0]
