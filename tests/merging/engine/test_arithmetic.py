"""The kernels against sums in float64, and what they promise about rounding and overflow."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffgraph.errors import PlanError
from diffgraph.merging.deltas.delta import Delta, add
from diffgraph.merging.deltas.factors import Factors
from diffgraph.merging.engine import arithmetic
from diffgraph.merging.engine.arithmetic import exact_products, harmless, stacked, write_merged

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
HALF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-24}
"""Largest relative error of rounding."""


def factors(rows, columns, rank, dtype, seed, strength=1.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(rows, rank, generator=generator) * strength / rank**0.5
    return Factors(up.to(dtype), torch.randn(rank, columns, generator=generator).to(dtype), scale)


def merged(base, delta):
    out = torch.full_like(base, 7)
    norm = float(base.double().norm())
    with exact_products():
        write_merged(out, base, delta, norm, "a weight")
    return out


def exact(base, delta):
    total = base.double().reshape(delta.matrix_shape)
    for term in delta.factors:
        total = total + term.scale * term.up.double() @ term.down.double()
    if delta.full is not None:
        total = total + delta.full.double()
    return total.reshape(base.shape)


def magnitude(delta):
    """|U| |D|, what errors of the factors scale with."""
    return sum(abs(t.scale) * t.up.double().abs() @ t.down.double().abs() for t in delta.factors)


def rms(tensor):
    return float(tensor.square().mean().sqrt())


@pytest.fixture
def base():
    return torch.randn(320, 512, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("stored", DTYPES)
def test_bfloat16_weights_round_once_beside_factors_that_hardly_count(base, stored):
    """Bound: half a unit of the result, plus 2 x 2^-8 |U||D|; and in the mean no worse than a correct rounding."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no bfloat16 units, so float32 is used")
    base = base.bfloat16()
    delta = Delta(base.shape, factors=[factors(320, 512, 8, stored, seed, 0.03, 0.7) for seed in range(4)])
    assert harmless(delta.factors, base.dtype, float(base.double().norm()))
    found, expected = merged(base, delta).double(), exact(base, delta)
    error = (found - expected).abs()
    half = HALF[torch.bfloat16]
    assert bool((error <= half * expected.abs() + 2.02 * half * magnitude(delta) + 1e-6).all())
    correct = rms(expected.float().bfloat16().double() - expected)
    assert rms(found - expected) <= 1.01 * correct
    # Were the product rounded before it is added, about 4 in 100 values would come out otherwise.
    up, down = stacked(delta.factors, base.dtype)
    once = (base.double() + up.double() @ down.double()).float().bfloat16()
    assert float((found != once.double()).double().mean()) < 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strength", [0.001, 0.3, 3.0])
@pytest.mark.parametrize("full", [False, True])
def test_all_else_is_the_float32_sum_rounded_once(base, dtype, strength, full, monkeypatch):
    monkeypatch.setattr(arithmetic, "_SMALL", base.numel() + 1)  # not by way of bfloat16 products
    monkeypatch.setattr(arithmetic, "_BLOCK", 512 * 33)
    base = base.to(dtype)
    extra = torch.randn(base.shape, generator=torch.Generator().manual_seed(3)) * strength if full else None
    terms = [factors(320, 512, 5, torch.float16, seed, strength, 1.3) for seed in range(3)]
    delta = Delta(base.shape, full=extra, factors=terms)
    expected = exact(base, delta)
    error = (merged(base, delta).double() - expected).abs()
    float32 = 2.0**-24 * 20 * (expected.abs() + base.double().abs() + magnitude(delta) + 1)
    assert bool((error <= HALF[dtype] * expected.abs() * 1.001 + float32).all())


def test_a_delta_as_large_as_the_base_is_not_left_to_bfloat16_factors(base):
    base = base.bfloat16()
    norm = float(base.double().norm())
    weak, strong = (Delta(base.shape, factors=[factors(320, 512, 8, torch.float32, 1, s)]) for s in (0.02, 1.0))
    assert harmless(weak.factors, base.dtype, norm)
    assert not harmless(strong.factors, base.dtype, norm)
    expected = exact(base, strong)
    error = (merged(base, strong).double() - expected).abs()
    assert bool((error <= HALF[base.dtype] * expected.abs() * 1.001 + 1e-5).all())
    # Factors that bfloat16 holds exactly do no harm, however strong they are.
    same = [factors(320, 512, 8, torch.bfloat16, 1, 1.0, 0.25)]
    assert harmless(same, base.dtype, norm)
    assert not harmless([same[0].scaled(0.7)], base.dtype, norm)
    assert not harmless(weak.factors, base.dtype, 0.0)


def test_a_convolution_and_a_bias_are_matrices_too(base):
    kernel = base[:, :486].reshape(320, 54, 3, 3).contiguous()
    delta = Delta(kernel.shape, factors=[factors(320, 486, 4, torch.bfloat16, 1, 0.01)])
    assert merged(kernel.bfloat16(), delta).shape == kernel.shape
    torch.testing.assert_close(merged(kernel, delta).double(), exact(kernel, delta), rtol=1e-5, atol=1e-6)
    bias = base[:, 0].contiguous()
    torch.testing.assert_close(merged(bias, Delta.of(torch.ones(320))), bias + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_process_allows_for_sampling_does_not_reach_a_merge(base, dtype):
    base = base.to(dtype)
    delta = Delta(base.shape, factors=[factors(320, 512, 8, torch.float32, 1, 2.0)])
    expected = merged(base, delta)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(merged(base, delta), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@given(
    st.sampled_from(DTYPES),
    st.sampled_from(DTYPES),
    st.floats(-38, 38),
    st.floats(-20, 38),
    st.booleans(),
)
@example(torch.float16, torch.float32, -23.0, 28.0, False)  # a factor whose squares are 0 in float32
@settings(max_examples=150, deadline=None)
def test_merged_weights_are_finite_or_refused(dtype, stored, up_exponent, scale_exponent, full):
    base = torch.ones(8, 12, dtype=dtype)
    one = torch.full((8, 3), min(10.0**up_exponent, torch.finfo(stored).max / 2)).to(stored)
    down = torch.full((3, 12), 1.5).to(stored)
    extra = torch.full((8, 12), 10.0 ** min(up_exponent, 30.0)) if full else None
    delta = Delta((8, 12), full=extra, factors=[Factors(one, down, 10.0**scale_exponent)])
    largest = float(exact(base, delta).abs().max())
    if not largest <= torch.finfo(dtype).max / 4:  # also NaN
        with contextlib.suppress(PlanError):
            assert bool(torch.isfinite(merged(base, delta)).all())
    else:
        assert bool(torch.isfinite(merged(base, delta)).all())
    if not largest <= torch.finfo(dtype).max * 1.01:
        with pytest.raises(PlanError, match="cannot hold"):
            merged(base, delta)


@given(
    st.integers(1, 6),
    st.sampled_from(DTYPES),
    st.floats(1e-6, 3) | st.floats(-3, -1e-6) | st.just(0.0),
    st.integers(0, 10**6),
)
@settings(max_examples=50, deadline=None)
def test_spread_and_reach_bound_what_they_say(rank, stored, scale, seed):
    term = factors(9, 7, rank, stored, seed, 1.0, scale)
    dense = scale * (term.up.double() @ term.down.double())
    assert float(dense.abs().max()) <= term.reach * (1 + 1e-5)
    assert float(dense.norm()) <= term.reach * (1 + 1e-5)
    assert (term.spread == 0.0) == (float(dense.norm()) == 0.0)
    if rank == 1:
        assert term.spread == pytest.approx(float(dense.norm()), rel=1e-5)
    doubled = term.scaled(2.0)
    assert doubled.spread == pytest.approx(2 * term.spread)
    assert doubled.reach == pytest.approx(2 * term.reach)


@pytest.mark.parametrize("stored", DTYPES)
def test_factors_in_any_dtype_are_the_float32_delta(stored):
    terms = [factors(6, 5, rank, stored, rank, 1.0, 0.3) for rank in (1, 2, 4)]
    delta = add([Delta((6, 5), factors=[term]) for term in terms], [1.0, -2.0, 0.5])
    assert delta.rank == 7
    assert delta.up.dtype == delta.down.dtype == torch.float32
    expected = sum(w * 0.3 * t.up.double() @ t.down.double() for w, t in zip([1.0, -2.0, 0.5], terms, strict=True))
    torch.testing.assert_close(delta.dense().double(), expected, rtol=1e-5, atol=1e-6)
    assert delta.norm() == pytest.approx(float(expected.norm()), rel=1e-5)
    assert delta.nbytes == sum(t.numel() for term in terms for t in (term.up, term.down)) * stored.itemsize


def test_bad_factors_and_bad_values_are_told():
    good = factors(6, 5, 2, torch.float32, 0)
    with pytest.raises(ValueError, match="cannot be multiplied"):
        Factors(good.up, good.down[:1])
    with pytest.raises(ValueError, match="float32, bfloat16 or float16"):
        Factors(good.up.double(), good.down.double())
    with pytest.raises(ValueError, match="do not fit"):
        Delta((5, 5), factors=[good])
    assert good.finite()
    assert not good.scaled(1e300).finite()
    assert not Factors(torch.full((6, 2), math.inf), good.down).finite()
    assert not Factors(good.up, torch.full((2, 5), math.nan)).finite()
    # Lengths overflow here, values do not.
    assert Factors(torch.full((6, 2), 1e30), good.down).finite()
    assert not Delta((6, 5), factors=[Factors(good.up * 0, good.down)]).nonzero()
    assert Delta((6, 5), factors=[good]).nonzero()
