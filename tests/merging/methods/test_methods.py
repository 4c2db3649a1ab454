"""Methods against their formulas, written out densely or by hand, and the registry; more in `methods/`."""

from __future__ import annotations

import math

import pytest
import torch
from peft.utils.merge_utils import ties as peft_ties

from diffgraph.errors import PlanError
from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.methods import Part, Whole, make, methods
from diffgraph.merging.methods.method import MergeMethod, register, seed_of
from diffgraph.merging.plan.merge_plan import Method

ALL = sorted(methods())


def method(name, **params):
    return make(Method(name=name, params=params))


def low(seed, rows=6, columns=5, rank=2, shape=None):
    g = torch.Generator().manual_seed(seed)
    up, down = torch.randn(rows, rank, generator=g), torch.randn(rank, columns, generator=g)
    return Delta(shape or (rows, columns), up=up, down=down)


def full(rows):
    return Delta.of(torch.tensor(rows, dtype=torch.float32))


def part(key, delta, weight=1.0, facet="subject"):
    return Part(key, facet, weight, delta)


def merged(name, *parts, **params):
    return method(name, **params).merge(parts).dense()


# --- one method at a time ----------------------------------------------------------------------------------------


def test_linear_and_concat_sum_are_the_dense_float32_sum():
    parts = [part("a", low(1), 0.7), part("b", low(2, rank=3), -1.2), part("c", low(3), 2.0)]
    dense = sum(p.weight * p.delta.dense() for p in parts)
    torch.testing.assert_close(merged("linear", *parts), dense, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(merged("concat_sum", *parts), dense, rtol=1e-5, atol=1e-5)
    assert method("concat_sum").merge(parts).rank == 7


def test_concat_sum_refuses_what_it_cannot_stack_but_takes_biases():
    with pytest.raises(PlanError, match="use linear"):
        merged("concat_sum", part("a", low(1)), part("b", Delta.of(torch.ones(6, 5))))
    bias = merged("concat_sum", part("a", Delta.of(torch.ones(4))), part("b", Delta.of(torch.ones(4)), 2.0))
    assert bias.tolist() == [3.0] * 4


def test_linear_normalises_over_experts_not_over_modules():
    wholes = [Whole("a", "subject", 1.0, lambda: 1.0), Whole("b", "style", 3.0, lambda: 1.0)]
    assert method("linear").weights(wholes) == [1.0, 3.0]
    assert method("linear", normalize="sum").weights(wholes) == [0.25, 0.75]
    e = math.e
    assert method("linear", normalize="softmax").weights(wholes) == pytest.approx([1 / (1 + e**2), e**2 / (1 + e**2)])
    with pytest.raises(PlanError, match="add up to 0"):
        method("linear", normalize="sum").weights([wholes[0], Whole("b", "style", -1.0, lambda: 1.0)])


A = [[8, -7, 6, -5], [4, -3, 2, -1], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
B = [[2, 3, 0.1, 0.1], [-9, -1, 0.1, 0.1], [5, -6, 0.1, 0.1], [7, 0.1, -4, 0.1]]
# Trimmed to 8 of 16 values, A keeps its upper half, B keeps 2 3 / -9 -1 / 5 -6 / 7 -4.


@pytest.mark.parametrize(
    ("params", "weights", "expected"),
    [
        # total: signs by 8+2, -7+3, 4-9, -3-1; then the mean of those that agree
        ({}, (1, 1), [[5, -7, 6, -5], [-9, -2, 2, -1], [5, -6, 0, 0], [7, 0, -4, 0]]),
        # frequency: one against one is a draw, which elects plus
        ({"vote": "frequency"}, (1, 1), [[5, 3, 6, -5], [4, -2, 2, -1], [5, -6, 0, 0], [7, 0, -4, 0]]),
        # weighted: -7 + 3 * 3 > 0, and 4 - 3 * 9 < 0
        ({"vote": "weighted"}, (1, 3), [[7, 9, 6, -5], [-27, -3, 2, -1], [15, -18, 0, 0], [21, 0, -12, 0]]),
        # total with weights: elected without them, multiplied after
        ({}, (1, 3), [[7, -7, 6, -5], [-27, -3, 2, -1], [15, -18, 0, 0], [21, 0, -12, 0]]),
        # mergekit's: elected by weighted sum, divided by the weights that agree: (8 + 3 * 2) / 4, 3 * 3 / 3, …
        (
            {"vote": "weighted", "divide": "weights"},
            (1, 3),
            [[3.5, 3, 6, -5], [-9, -1.5, 2, -1], [5, -6, 0, 0], [7, 0, -4, 0]],
        ),
        # sum instead of mean, and lambda
        (
            {"divide": "none", "scale": 0.5},
            (1, 1),
            [[5, -3.5, 3, -2.5], [-4.5, -2, 1, -0.5], [2.5, -3, 0, 0], [3.5, 0, -2, 0]],
        ),
    ],
)
def test_ties_by_hand(params, weights, expected):
    parts = [part(key, full(rows), w) for key, rows, w in zip("ab", (A, B), weights, strict=True)]
    assert merged("ties", *parts, **params).tolist() == expected


@pytest.mark.parametrize("vote", ["total", "frequency"])
def test_ties_is_pefts_ties(vote):
    tensors = [torch.randn(9, 7, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    weights = [1.0, 0.5, 2.0]
    parts = [part(k, Delta.of(t), w) for k, t, w in zip("abc", tensors, weights, strict=True)]
    ours = merged("ties", *parts, density=0.3, vote=vote)
    torch.testing.assert_close(ours, peft_ties(tensors, torch.tensor(weights), 0.3, vote))


def test_np_lora_is_the_dense_formula_with_the_projector_on_the_input_side():
    content, style = low(1, rank=2), low(2, rank=2)
    v = torch.linalg.qr(style.down.T).Q
    eye = torch.eye(5)
    for mu in (0.5, 3.0):
        dense = style.dense() + content.dense() @ (eye - mu / (1 + mu) * v @ v.T)
        ours = method("np_lora", mu=mu).merge([part("c", content), part("s", style, facet="style")])
        torch.testing.assert_close(ours.dense(), dense, rtol=1e-4, atol=1e-5)
        assert ours.rank == 4
    hard = method("np_lora", mu=1e9).merge([part("c", content), part("s", style, 0.0001, "style")])
    x = style.down.T @ torch.randn(2, 1, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(hard.dense() @ x, 0.0001 * style.dense() @ x, rtol=1e-2, atol=1e-5)


def test_np_lora_by_hand_and_its_roles():
    content = Delta.of(torch.ones(4, 4))
    style = Delta((4, 4), up=torch.tensor([[1.0], [0], [0], [0]]), down=torch.tensor([[2.0, 0, 0, 0]]))
    both = [part("c", content), part("s", style, facet="style")]
    third = 1 - 0.5 / 1.5
    expected = torch.tensor([[2 + third, 1, 1, 1]] + [[third, 1, 1, 1]] * 3)
    torch.testing.assert_close(merged("np_lora", *both), expected)
    backdrop = Delta((4, 4), up=torch.ones(4, 1), down=torch.tensor([[0, 1.0, 0, 0]]))
    with_background = merged("np_lora", *both, part("b", backdrop, facet="background"))
    torch.testing.assert_close(with_background[1], torch.tensor([third, third + 1, 1, 1]))
    torch.testing.assert_close(merged("np_lora", *both, mu=0.0), content.dense() + style.dense())
    two_subjects = [part("a", content), part("b", style)]
    torch.testing.assert_close(merged("np_lora", *two_subjects), content.dense() + style.dense())
    swapped = merged("np_lora", *both, content=["style"])  # V is now (1, 1, 1, 1) / 2
    torch.testing.assert_close(swapped, content.dense() + style.dense() @ (torch.eye(4) - torch.ones(4, 4) / 12))


def test_np_lora_can_balance_before_it_projects():
    content, style = low(1), Delta.of(4 * low(2).dense())
    parts = [part("c", content), part("s", style, facet="style")]
    ref = math.sqrt(content.norm() * style.norm())
    even = [Delta.of(d.dense() * (ref / d.norm())) for d in (content, style)]
    expected = merged("np_lora", part("c", even[0]), part("s", even[1], facet="style"))
    torch.testing.assert_close(merged("np_lora", *parts, balance=1.0), expected, rtol=1e-4, atol=1e-4)


def test_np_lora_projects_off_what_the_style_really_reads():
    up, down = torch.zeros(6, 2), torch.eye(2, 5)
    up[:, 0] = 1.0  # the second row of A is multiplied by zeros: the style does not read it
    style, content = Delta((6, 5), up=up, down=down), Delta.of(torch.ones(6, 5))
    out = merged("np_lora", part("c", content), part("s", style, facet="style"))
    torch.testing.assert_close(out[0], torch.tensor([1 + 2 / 3, 1, 1, 1, 1]))
    strongest = Delta((6, 5), up=torch.diag(torch.tensor([5.0, 1, 0, 0, 0, 0]))[:, :2], down=down)
    one = merged("np_lora", part("c", content), part("s", strongest, facet="style"), directions=1)
    torch.testing.assert_close(one[2], torch.tensor([2 / 3, 1, 1, 1, 1]))
    silent = Delta((6, 5), up=torch.zeros(6, 1), down=torch.zeros(1, 5))
    torch.testing.assert_close(merged("np_lora", part("c", content), part("s", silent, facet="style")), content.dense())


def test_np_lora_on_convolutions_works_on_patches():
    shape = (4, 3, 3, 3)
    content, style = low(1, 4, 27, 2, shape), low(2, 4, 27, 3, shape)
    v = torch.linalg.qr(style.down.T).Q
    dense = style.matrix() + content.matrix() @ (torch.eye(27) - v @ v.T / 3)
    out = merged("np_lora", part("c", content), part("s", style, facet="style"))
    torch.testing.assert_close(out, dense.reshape(shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "factors"),
    [
        ({}, (2.0, 0.5)),
        ({"strength": 0.5}, (2**0.5, 0.5**0.5)),
        ({"strength": 0.0}, (1.0, 1.0)),
        ({"reference": "mean"}, (2.5, 0.625)),
        ({"reference": "min"}, (1.0, 0.25)),
        ({"reference": "max"}, (4.0, 1.0)),
        ({"reference": "style"}, (4.0, 1.0)),
        ({"reference": "subject"}, (1.0, 0.25)),
        ({"reference": "background"}, (2.0, 0.5)),
        ({"limit": 1.5}, (1.5, 1 / 1.5)),
    ],
)
def test_magnitude_balanced_by_hand(params, factors):
    one = Delta.of(torch.diag(torch.tensor([1.0, 0, 0, 0])))
    four = Delta.of(torch.diag(torch.tensor([0, 4.0, 0, 0])))
    parts = [part("a", one, 1.0), part("b", four, 3.0, "style")]
    expected = torch.diag(torch.tensor([factors[0], 3 * 4 * factors[1], 0, 0]))
    torch.testing.assert_close(merged("magnitude_balanced", *parts, **params), expected)
    wholes = [Whole("a", "subject", 1.0, lambda: 1.0), Whole("b", "style", 3.0, lambda: 4.0)]
    by_expert = method("magnitude_balanced", scope="expert", **params)
    assert by_expert.weights(wholes) == pytest.approx([factors[0], 3 * factors[1]])
    torch.testing.assert_close(by_expert.merge(parts).dense(), one.dense() + 3 * four.dense())


def test_magnitude_balanced_keeps_a_silent_expert_out_of_the_reference():
    assert method("magnitude_balanced").factors([0.0, 1.0, 4.0], ["subject"] * 3) == pytest.approx([1.0, 2.0, 0.5])
    assert method("magnitude_balanced").factors([0.0, 4.0], ["subject"] * 2) == [1.0, 1.0]


def test_shared_mean_averages_what_both_read_and_keeps_the_rest():
    one = Delta((4, 4), up=torch.eye(4)[:, :2], down=torch.eye(4)[:2])
    two = Delta((4, 4), up=torch.eye(4)[:, 1:3], down=torch.eye(4)[1:3])
    parts = [part("a", one), part("b", two)]
    torch.testing.assert_close(merged("shared_mean", *parts), torch.diag(torch.tensor([1.0, 1, 1, 0])))
    torch.testing.assert_close(merged("shared_mean", *parts, strength=0.0), torch.diag(torch.tensor([1.0, 2, 1, 0])))
    a, b = low(1), low(2)
    q = [torch.linalg.qr(d.down.T).Q for d in (a, b)]
    values, vectors = torch.linalg.eigh(sum(basis @ basis.T for basis in q))
    dense = (a.dense() + b.dense()) @ vectors @ torch.diag(1 / values.clamp(min=1)) @ vectors.T
    torch.testing.assert_close(merged("shared_mean", part("a", a), part("b", b)), dense, rtol=1e-3, atol=1e-4)


# --- the registry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_method_says_what_it_is(name):
    cls = methods()[name]
    assert cls.__doc__
    assert cls.reference_url.startswith("https://")
    assert cls.space in ("delta", "weight")
    assert cls.Params.model_config["frozen"]


def test_unknown_names_and_parameters_are_plan_errors():
    with pytest.raises(PlanError, match="did you mean np_lora"):
        method("nplora")
    with pytest.raises(PlanError, match="densty"):
        method("ties", densty=0.5)
    with pytest.raises(PlanError, match="density"):
        method("ties", density=0.0)
    with pytest.raises(PlanError, match="mu"):
        method("np_lora", mu=float("inf"))


def test_malformed_and_duplicate_methods_fail_at_import():
    with pytest.raises(ValueError, match="reference_url"):

        @register
        class Nameless(MergeMethod):
            name, reference_url = "nameless", ""

    with pytest.raises(ValueError, match="two merge methods"):

        @register
        class Again(MergeMethod):
            name, reference_url = "linear", "https://example.org"

    with pytest.raises(ValueError, match="is no name"):

        @register
        class Shouting(MergeMethod):
            name, reference_url = "Not A Name", "https://example.org"


def test_seeds_differ_by_plan_and_target_and_nothing_else():
    assert seed_of("p", "t") == seed_of("p", "t")
    assert len({seed_of("p", "t"), seed_of("p", "u"), seed_of("q", "t")}) == 3
    assert 0 <= seed_of("p", "t") < 2**63
