"""Identities of the statistics."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgraph.errors import UserError
from diffgraph.evals.stats import bootstrap, by_item, holm, paired_permutation

SHARES = st.lists(st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0]), min_size=1, max_size=30)
QUICK = settings(max_examples=25, deadline=None)


@QUICK
@given(SHARES)
def test_an_interval_holds_its_mean_and_stays_in_range(values: list[float]) -> None:
    found = bootstrap(values, draws=500)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert min(values) <= found.low <= found.mean <= found.high <= max(values) + 1e-12


@QUICK
@given(SHARES)
def test_the_same_seed_gives_the_same_interval(values: list[float]) -> None:
    assert bootstrap(values, draws=300, seed=3) == bootstrap(values, draws=300, seed=3)


def test_more_prompts_give_a_narrower_interval() -> None:
    few, many = bootstrap([0.0, 1.0] * 8), bootstrap([0.0, 1.0] * 200)
    assert many.high - many.low < few.high - few.low


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    hits = 0
    for i in range(100):
        found = bootstrap((rng.random(60) < 0.4).astype(float).tolist(), draws=400, seed=i)
        hits += found.low <= 0.4 <= found.high
    assert 86 <= hits <= 100


@QUICK
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_paired_test_is_symmetric_and_a_probability(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    p = paired_permutation(a, b, draws=500)
    assert 0 < p <= 1
    assert p == paired_permutation(b, a, draws=500)


@QUICK
@given(SHARES)
def test_equal_arms_do_not_differ(values: list[float]) -> None:
    assert paired_permutation(values, values) == 1.0


@pytest.mark.parametrize("n", [1, 3, 10, 14])
def test_few_pairs_are_counted_exactly(n: int) -> None:
    # Only "all plus" and "all minus" are as far out as n wins of n.
    assert paired_permutation([1.0] * n, [0.0] * n) == pytest.approx(2 / 2**n)


def test_many_pairs_agree_with_the_exact_count() -> None:
    from scipy.stats import binom

    a = [1.0] * 15 + [0.0] * 5
    b = [0.0] * 15 + [1.0] * 5
    exact = 2 * float(binom.sf(14, 20, 0.5))
    assert paired_permutation(a, b, draws=50_000) == pytest.approx(exact, abs=0.006)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}


@QUICK
@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=8))
def test_holm_only_raises_and_keeps_the_order(p: dict[str, float]) -> None:
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    assert all(p[k] <= adjusted[k] <= 1 for k in p)
    ranked = sorted(p, key=lambda k: p[k])
    assert [adjusted[k] for k in ranked] == sorted(adjusted.values())


def test_seeds_of_a_prompt_are_averaged() -> None:
    assert by_item([("b", 1.0), ("a", 0.0), ("b", 0.0)]) == {"b": 0.5, "a": 0.0}


def test_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        bootstrap([])
    with pytest.raises(ValueError, match="equally long"):
        paired_permutation([1.0], [1.0, 0.0])


def test_without_scipy_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UserError, match=r"pip install 'diffgraph\[evals\]'"):
        bootstrap([0.0, 1.0])
