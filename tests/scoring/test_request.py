"""Requests: comparable texts and the mean that sinks with its weakest part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgraph.scoring.request import geometric_mean, harmonic_mean, normal

POSITIVE = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "facet", "expected"),
    [
        ("An  Octopus", "subject", "octopus"),
        ("blueprint style", "style", "blueprint"),
        ("style", "style", "style"),
        ("the starry night background", "background", "starry night"),
        ("plain red background", "background", "plain red"),
        ("style", "subject", "style"),
        ("anteater", "subject", "anteater"),
    ],
)
def test_normal_form(text: str, facet: str, expected: str) -> None:
    assert normal(text, facet) == expected


@given(POSITIVE)
def test_harmonic_mean_lies_between_least_and_mean(values: list[float]) -> None:
    found = harmonic_mean(values)
    assert min(values) * (1 - 1e-9) <= found <= sum(values) / len(values) * (1 + 1e-9)


@given(st.floats(0.01, 1.0), st.integers(1, 6))
def test_harmonic_mean_of_equals(value: float, n: int) -> None:
    assert harmonic_mean([value] * n) == pytest.approx(value)


def test_a_zero_sinks_it_and_nothing_has_no_mean() -> None:
    assert harmonic_mean([1.0, 0.0]) == 0.0
    with pytest.raises(ValueError, match="at least one"):
        harmonic_mean([])
    with pytest.raises(ValueError, match="negative"):
        harmonic_mean([-0.1])


@given(POSITIVE)
def test_geometric_mean_lies_between_harmonic_mean_and_mean(values: list[float]) -> None:
    found = geometric_mean(values)
    assert harmonic_mean(values) * (1 - 1e-9) <= found <= sum(values) / len(values) * (1 + 1e-9)


def test_geometric_mean_sinks_with_its_weakest_part() -> None:
    assert geometric_mean([1.0, 0.0]) == 0.0
    with pytest.raises(ValueError, match="at least one"):
        geometric_mean([])
