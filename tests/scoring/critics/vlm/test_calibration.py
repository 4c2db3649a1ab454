"""Curves over a model's probabilities, and the measures by which they are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgraph.errors import UserError
from diffgraph.scoring.critics.vlm.calibration import Calibration, Curve, auroc, ece, expit, fit, logit


def drawn(slope: float, shift: float, count: int = 20_000) -> tuple[list[float], list[bool]]:
    """What a model says, and truths that are drawn from the curve over it."""
    rng = np.random.default_rng(7)
    p = expit(rng.normal(0, 2, count))
    return p.tolist(), (rng.random(count) < Curve(slope=slope, shift=shift)(p)).tolist()


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.4, -1.0), (2.5, 1.5)])
def test_a_known_curve_is_found_again(slope: float, shift: float) -> None:
    found = fit(*drawn(slope, shift))
    assert (found.slope, found.shift) == (pytest.approx(slope, rel=0.06), pytest.approx(shift, abs=0.08))


def test_a_curve_mends_the_error_and_leaves_the_order() -> None:
    p, shown = drawn(0.4, -1.0)
    after = fit(p, shown)(np.asarray(p))
    assert ece(p, shown) > 0.15
    assert ece(after.tolist(), shown) < 0.02
    assert auroc(after.tolist(), shown) == pytest.approx(auroc(p, shown), abs=1e-12)


@given(slope=st.floats(0.3, 3), shift=st.floats(-2, 2), off=st.floats(-9, 9))
def test_the_likeliest_curve_is_found_however_far_off_the_model_is(slope: float, shift: float, off: float) -> None:
    """At the optimum the mean of what is said is the share that is true, but for the prior's 0.01 · shift."""
    p, shown = drawn(slope, shift, 400)
    said = expit(logit(np.asarray(p)) + off)
    found = fit(said.tolist(), shown)
    assert (found(said) - shown).sum() == pytest.approx(-0.01 * found.shift, abs=1e-5)


def test_labels_that_part_cleanly_give_a_finite_curve() -> None:
    found = fit([0.0, 0.1, 0.2, 0.8, 0.9, 1.0], [False] * 3 + [True] * 3)
    low, high = found(np.asarray([0.1, 0.9])).tolist()
    assert 0.001 < low < 0.2
    assert 0.8 < high < 0.999


@pytest.mark.parametrize(
    ("p", "shown", "said"),
    [
        ([0.1, 0.9], [True, True], "both sorts"),
        ([0.1, 0.9], [False, False], "both sorts"),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], "no better than chance"),
    ],
)
def test_what_cannot_be_fitted_says_why(p: list[float], shown: list[bool], said: str) -> None:
    with pytest.raises(UserError, match=said):
        fit(p, shown)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    p, shown = rng.integers(0, 8, 60) / 7, rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in p[shown] for b in p[~shown]]
    assert auroc(p.tolist(), shown.tolist()) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert np.isnan(auroc([0.5], [True]))


def test_ece_by_hand() -> None:
    # the bin of .2 to .3 says .25 where one of two is shown; the last says 1 where all are
    assert ece([0.2, 0.3 - 1e-9, 1.0, 1.0], [True, False, True, True]) == pytest.approx(0.5 * 0.25, abs=1e-6)


def test_certainty_stays_finite_and_nothing_said_stays_so() -> None:
    curve = Curve(slope=0.5, shift=1.0)
    found = curve(np.asarray([0.0, 1.0, np.nan]))
    assert np.all(np.isfinite(found[:2]))
    assert np.isnan(found[2])
    assert logit(np.asarray(0.5)) == 0


def test_a_file_keeps_the_curves(tmp_path: Path) -> None:
    made = Calibration(model="m", facets={"subject": Curve(slope=2.0, shift=0.5)})
    made.write(tmp_path / "c.json")
    read = Calibration.read(tmp_path / "c.json")
    assert read == made
    assert read.identity != Calibration(model="m").identity
    assert read.of("style", np.asarray([0.3])).tolist() == [0.3]
    assert read.of("subject", np.asarray([0.5])).tolist() == [pytest.approx(1 / (1 + np.exp(-0.5)))]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"facets": {"a": {"slope": -1}}}', '{"facets": {"a": {"shift": NaN}}}', "x" * 2**21]
)
def test_a_file_of_something_else_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"c\.json"):
        Calibration.read(tmp_path / "c.json")
    with pytest.raises(UserError, match="cannot be read"):
        Calibration.read(tmp_path / "none.json")
