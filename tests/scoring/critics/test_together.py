"""Several critics as one: averaged odds, and the others where one has nothing to say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.scoring.critics.together import Together
from diffgraph.scoring.request import Verdict, Wanted, geometric_mean

WANTED = [Wanted(facet="subject", text="owl"), Wanted(facet="style", text="neon")]
P = st.floats(0.001, 0.999)


class Fixed:
    """Says the same of every image, or by its brightness."""

    identity = "fixed"

    def __init__(self, by: str, **said: float) -> None:
        self.by, self.said = by, said

    def fits(self, base: BaseProfile) -> bool:
        return True

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        rows = []
        for image in images:
            shade = float(np.asarray(image.convert("L")).mean()) / 255
            facets = {w.text: self.said[w.text] * (0.5 + shade / 2) for w in wanted if w.text in self.said}
            score = geometric_mean(facets.values()) if facets else 0.0
            rows.append(
                Verdict(score=score, facets=facets, findings=(f"{self.by} says",), seen={"owl": self.by}, by=self.by)
            )
        return rows


WHITE, DARK = Image.new("RGB", (4, 4), "white"), Image.new("RGB", (4, 4), "black")


@given(P, P)
def test_two_that_agree_say_what_one_says(owl: float, neon: float) -> None:
    one = Fixed("one", owl=owl, neon=neon)
    both = Together([one, one]).score([WHITE], WANTED)[0]
    assert both.facets == pytest.approx(one.score([WHITE], WANTED)[0].facets, abs=1e-9)
    assert both.score == pytest.approx(geometric_mean([owl, neon]))


@given(P)
def test_opposite_odds_cancel(p: float) -> None:
    both = Together([Fixed("a", owl=p), Fixed("b", owl=1 - p)]).score([WHITE], WANTED[:1])[0]
    assert both.facets["owl"] == pytest.approx(0.5)


def test_what_one_does_not_judge_the_other_does() -> None:
    verdict = Together([Fixed("a", owl=0.9), Fixed("b", owl=0.6, neon=0.3)]).score([WHITE], WANTED)[0]
    assert verdict.facets["neon"] == pytest.approx(0.3)
    assert 0.6 < verdict.facets["owl"] < 0.9
    assert verdict.by == "a and b"
    assert verdict.findings == ("a says", "b says")
    assert verdict.seen == {"owl": "a"}


def test_where_one_got_no_answer_the_other_judges() -> None:
    class Unsure(Fixed):
        def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
            found = super().score(images, wanted)
            return [one.model_copy(update={"unsure": tuple(self.said)}) for one in found]

    one, other = Unsure("a", owl=0.5, neon=0.5), Fixed("b", owl=0.9)
    verdict = Together([one, other]).score([WHITE], WANTED)[0]
    assert verdict.facets == pytest.approx({"owl": 0.9, "neon": 0.5})
    assert verdict.unsure == ("neon",)


def test_the_better_image_is_preferred_in_either_order() -> None:
    both = Together([Fixed("a", owl=0.9), Fixed("b", owl=0.6, neon=0.3)])
    better = both.prefer(WHITE, DARK, WANTED)
    assert better > 0.5
    assert both.prefer(DARK, WHITE, WANTED) == pytest.approx(1 - better)
    assert both.prefer(WHITE, WHITE, WANTED) == 0.5
    assert both.prefer(WHITE, DARK, []) == 0.5


def test_nobody_is_no_critic() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Together([])
