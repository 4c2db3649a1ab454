"""The identities that every registered method must keep; a new one is tested with no second edit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgraph.merging.deltas.delta import Delta, add
from diffgraph.merging.methods import Part, make, methods
from diffgraph.merging.plan.merge_plan import Method

FACETS = ("subject", "style", "background")
ALL = sorted(methods())


def method(name, **params):
    return make(Method(name=name, params=params))


def low(seed, rows=6, columns=5, rank=2, shape=None):
    g = torch.Generator().manual_seed(seed)
    up, down = torch.randn(rows, rank, generator=g), torch.randn(rank, columns, generator=g)
    return Delta(shape or (rows, columns), up=up, down=down)


def part(key, delta, weight=1.0, facet="subject"):
    return Part(key, facet, weight, delta)


SHAPES = {"square": (5, 5), "wide": (4, 9), "tall": (9, 4), "convolution": (4, 1, 3, 3), "bias": (6,)}


def drawn(shape, seed, rank):
    """A bias, or a low-rank matrix or convolution, of normal values."""
    if len(shape) == 1:
        return Delta.of(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    return low(seed, shape[0], math.prod(shape[1:]), rank, shape)


@st.composite
def deltas(draw, count):
    """Deltas of one shape, of ranks up to 6, which is more than some of the shapes have."""
    shape = SHAPES[draw(st.sampled_from(sorted(SHAPES)))]
    return [drawn(shape, draw(st.integers(0, 10**6)), draw(st.integers(1, 6))) for _ in range(count)]


WEIGHTS = st.floats(-3, 3, allow_nan=False).filter(lambda w: w == 0.0 or abs(w) > 1e-3)


def parts_of(some, weights):
    return [part(k, d, w, f) for k, d, w, f in zip("abc", some, weights, FACETS, strict=True)]


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_identities(name, data):
    some = data.draw(deltas(3))
    parts = parts_of(some, data.draw(st.tuples(WEIGHTS, WEIGHTS, WEIGHTS)))
    m = method(name)
    # one expert is that expert, whatever its weight; at weight 1 it is the very same factors
    assert torch.equal(m.merge([part("a", some[0])]).dense(), some[0].dense())
    alone = m.merge([part("a", some[0], 0.5), part("b", some[1], 0.0, "style")])
    assert torch.equal(alone.dense(), some[0].scaled(0.5).dense())
    # no weight is no delta, and an expert of weight 0 is as if absent
    assert m.merge([]) is None
    assert m.merge([part("a", some[0], 0.0)]) is None
    two, idle = m.merge(parts[:2]), m.merge([*parts[:2], part("c", some[2], 0.0)])
    assert (two is None) == (idle is None)
    assert two is None or torch.equal(two.dense(), idle.dense())
    # order and repetition change no bit, nothing is written to, shapes stay
    before = [p.delta.dense().clone() for p in parts]
    first = m.merge(parts)
    for order in itertools.permutations(parts):
        again = m.merge(order)
        assert (first is None) == (again is None)
        assert first is None or torch.equal(first.dense(), again.dense())
    assert first is None or (first.shape == some[0].shape and first.finite())
    assert all(torch.equal(b, p.delta.dense()) for b, p in zip(before, parts, strict=True))
    # where it says symmetric, facets play no part
    if m.symmetric and first is not None:
        turned = [part(p.key, p.delta, p.weight, f) for p, f in zip(parts, reversed(FACETS), strict=True)]
        assert torch.equal(first.dense(), m.merge(turned).dense())


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_a_delta_is_kept_as_does_not_matter_nor_does_the_unit(name, data):
    some = data.draw(deltas(3))
    weights = data.draw(st.tuples(*[WEIGHTS.filter(bool)] * 3))
    m = method(name)
    first = m.merge(parts_of(some, weights)).dense()
    scale = sum(abs(w) * d.norm() for w, d in zip(weights, some, strict=True))
    # dense or low rank is a matter of storage (a method may refuse what has no factors, but not answer differently)
    dense = parts_of([Delta.of(d.dense()) for d in some], weights)
    if name != "concat_sum" or len(some[0].shape) == 1:
        torch.testing.assert_close(m.merge(dense).dense(), first, rtol=0, atol=1e-4 * scale)
        mixed = m.merge([dense[0], *parts_of(some, weights)[1:]]).dense()
        torch.testing.assert_close(mixed, first, rtol=0, atol=1e-4 * scale)
    # experts 4 times as strong give a merge 4 times as strong
    fourfold = m.merge(parts_of([d.scaled(4.0) for d in some], weights)).dense()
    torch.testing.assert_close(fourfold, 4 * first, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ALL)
def test_only_seeded_methods_depend_on_the_seed(name):
    m, parts = method(name), parts_of([low(s, 8, 12) for s in range(3)], (1.0, 0.5, 2.0))
    one, again, other = (m.merge(parts, seed=seed).dense() for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) != m.seeded


@pytest.mark.parametrize("name", ALL)
def test_many_targets_at_once_are_each_as_alone(name):
    shapes = [(6, 5), (4, 9), (6, 5), (4, 1, 3, 3), (6,), (6, 5)]
    groups = []
    for index, shape in enumerate(shapes):
        some = [drawn(shape, 10 * index + k, rank) for k, rank in enumerate((2, 1, 3))]
        groups.append(parts_of(some, (1.0, -0.5, 0.7 + index)))
    groups += [groups[0][:1], [part("a", low(1), 0.0)], [*groups[0][:2], part("d", low(9, rank=4))]]
    m, seeds = method(name), list(range(len(groups)))
    together = m.merge_many(groups, seeds)
    for parts, seed, delta in zip(groups, seeds, together, strict=True):
        alone = m.merge(parts, seed)
        assert (alone is None) == (delta is None)
        if alone is not None:
            assert torch.equal(delta.dense(), alone.dense())


@pytest.mark.parametrize("name", [name for name in ALL if hasattr(methods()[name], "combine_batch")])
def test_a_batch_is_its_slices_within_float32(name):
    m = method(name)
    for shape, ranks in (((12, 9), (2, 3, 1)), ((4, 1, 3, 3), (2, 2, 2))):
        groups = []
        for index in range(4):
            some = [drawn(shape, 10 * index + k, rank) for k, rank in enumerate(ranks)]
            groups.append(parts_of(some, (1.0, -0.5, 0.7 + index)))
        for parts, delta in zip(groups, m.combine_batch(groups), strict=True):
            alone = m.merge(parts).dense()
            assert (delta.dense() - alone).norm() <= 1e-4 * alone.norm()


def degenerate():
    """name -> three parts that are hard on angles, spectra or votes."""
    d, other, zero = low(1), low(2), Delta((6, 5), torch.zeros(6, 2), torch.zeros(2, 5))
    bias, conv = Delta.of(torch.tensor([1.0, -2, 0, 3])), low(3, 4, 9, 3, (4, 1, 3, 3))
    return {
        "equal": parts_of([d, d, d], (1.0, 1.0, 1.0)),
        "opposite": parts_of([d, d.scaled(-1.0), other], (1.0, 1.0, 1e-3)),
        "only opposite": [part("a", d), part("b", d.scaled(-1.0))],
        "opposite weights": [part("a", d, 2.0), part("b", d, -2.0)],
        "cancelling": parts_of([d, other, add([d, other], [-1.0, -1.0])], (1.0, 1.0, 1.0)),
        "one zero": parts_of([d, zero, other], (1.0, 1.0, 1.0)),
        "all zero": parts_of([zero, zero, zero], (1.0, 1.0, 1.0)),
        "nothing much": parts_of([d.scaled(1e-18), d, other], (1.0, 1.0, 1.0)),
        "huge and negative": parts_of([d, other, low(4)], (1e8, -1e8, 1e-3)),
        "bias": parts_of([bias, bias.scaled(-1.0), bias], (1.0, 2.0, 1.0)),
        "one value": parts_of([Delta.of(torch.tensor([2.0]))] * 3, (1.0, -1.0, 1.0)),
        "convolution": parts_of([conv, conv, low(5, 4, 9, 12, (4, 1, 3, 3))], (1.0, -1.0, 1.0)),
        "rank above the shape": parts_of([low(6, 6, 5, 20), low(7, 6, 5, 9), d], (1.0, 1.0, 1.0)),
        "one row": parts_of([low(s, 1, 7, 1) for s in range(3)], (1.0, 1.0, 1.0)),
    }


@pytest.mark.parametrize("case", sorted(degenerate()))
@pytest.mark.parametrize("name", ALL)
def test_degenerate_experts_merge_to_something_finite_and_repeatable(name, case):
    parts, m = degenerate()[case], method(name)
    first = m.merge(parts, seed=3)
    assert first.shape == parts[0].delta.shape
    assert first.finite()
    assert torch.isfinite(first.dense()).all()
    assert torch.equal(first.dense(), method(name).merge(degenerate()[case], seed=3).dense())
    if case == "all zero":
        assert first.norm() == 0.0


@pytest.mark.parametrize("name", [name for name, cls in methods().items() if cls.low_rank])
@pytest.mark.parametrize("seed", range(3))
def test_a_method_that_says_so_keeps_low_rank_low(name, seed):
    parts = [part("a", low(seed, 40, 30)), part("b", low(seed + 10, 40, 30), 0.5, "style")]
    merged = method(name).merge(parts)
    assert merged.full is None
    assert merged.rank <= 8
