"""The algebra of deltas equals the dense one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from diffgraph.merging.deltas.delta import Delta, Factors, add


def low(seed, rows=6, columns=5, rank=2, shape=None):
    g = torch.Generator().manual_seed(seed)
    up, down = torch.randn(rows, rank, generator=g), torch.randn(rank, columns, generator=g)
    return Delta(shape or (rows, columns), up=up, down=down)


def test_delta_algebra_equals_the_dense_one():
    a, b = low(1), low(2, rank=3)
    c = Delta.of(torch.randn(6, 5, generator=torch.Generator().manual_seed(3)))
    mixed = add([a, c], [0.5, 2.0])
    torch.testing.assert_close(mixed.dense(), 0.5 * a.dense() + 2 * c.dense())
    for x, y in itertools.product((a, b, c, mixed), repeat=2):
        assert x.inner(y) == pytest.approx(float((x.dense() * y.dense()).sum()), rel=1e-5, abs=1e-5)
        torch.testing.assert_close(add([x, y], [1.0, -3.0]).dense(), x.dense() - 3 * y.dense(), rtol=1e-4, atol=1e-5)
    assert mixed.norm() == pytest.approx(float(mixed.dense().norm()), rel=1e-5)
    assert (a.rank, add([a, b], [1, 1]).rank, c.rank, mixed.rank) == (2, 5, None, None)
    columns = torch.randn(5, 2, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(mixed.times(columns), mixed.dense() @ columns, rtol=1e-4, atol=1e-5)
    base = torch.randn(6, 5).bfloat16()
    before = base.clone()
    torch.testing.assert_close(mixed.added_to(base), base.float() + mixed.dense(), rtol=1e-4, atol=1e-5)
    assert torch.equal(base, before)
    assert a.device == c.device == torch.device("cpu")


def test_malformed_deltas_are_bugs():
    with pytest.raises(ValueError, match="both factors"):
        Delta((2, 2))
    with pytest.raises(ValueError, match="do not fit"):
        Delta((2, 2), up=torch.ones(2, 1), down=torch.ones(1, 3))
    with pytest.raises(ValueError, match="does not fit"):
        Delta((2, 2), full=torch.ones(3, 3))
    with pytest.raises(ValueError, match="float32"):
        Delta((2, 2), full=torch.ones(2, 2).half())
    with pytest.raises(ValueError, match="different shapes"):
        add([low(1), low(1, rows=7)], [1, 1])


@pytest.mark.parametrize("size", [1e-25, 1e-15, 1.0, 1e15, 3e37])
def test_the_lengths_of_factors_hold_where_their_squares_leave_float32(size):
    terms = Factors(torch.full((6, 2), size), torch.full((2, 5), 1 / size), 2.0)
    assert terms.reach == pytest.approx(2 * 2 * 30**0.5, rel=1e-3)
    assert terms.spread == pytest.approx(2 * (2 * 30) ** 0.5, rel=1e-3)
    assert terms.finite()
    assert Delta((6, 5), factors=[terms]).nonzero()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (3, 1), (5, 3)])
def test_a_value_that_is_none_is_found_wherever_it_stands(value: float, place: tuple[int, int]) -> None:
    for spoilt in ("up", "down"):
        parts = {"up": torch.randn(6, 4), "down": torch.randn(4, 6)}
        assert Factors(**parts).finite()
        parts[spoilt][place if spoilt == "up" else place[::-1]] = value
        assert not Factors(**parts).finite()
