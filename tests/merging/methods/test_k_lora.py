"""K-LoRA's choice, by hand."""

from __future__ import annotations

import pytest
import torch

from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.methods.k_lora import common_top, strongest, top_magnitude
from diffgraph.merging.methods.method import make
from diffgraph.merging.plan.merge_plan import MergePlan, Method, PlanBase, PlanExpert, Ramp
from diffgraph.merging.plan.schedule import passes

A = [[9, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
B = [[4, 0, 0, 0], [0, -4, 0, 0], [0, 0, 4, 0], [0, 0, 0, 4]]


def test_the_expert_with_the_strongest_values_wins(method, parts):
    """Ouyang et al. 2025, eq. 3 to 5: of the 2 largest values A has 9 + 1 and B 8; of the 3 largest 11 and 12."""
    some = parts([A, B])
    assert torch.equal(method("k_lora", top=2, balance=False).merge(some).dense(), some[0].delta.dense())
    assert torch.equal(method("k_lora", top=3, balance=False).merge(some).dense(), some[1].delta.dense())
    # ranks are 4 and 4, so by default K = 16 and all values count: 12 against 16
    assert torch.equal(method("k_lora", balance=False).merge(some).dense(), some[1].delta.dense())


def test_weights_weigh_in_and_are_applied(method, parts):
    some = parts([A, B], (1.5, -1.0))
    assert torch.equal(method("k_lora", balance=False).merge(some).dense(), 1.5 * torch.tensor(A))
    some = parts([A, B], (1.0, -1.5))
    assert torch.equal(method("k_lora", top=2, balance=False).merge(some).dense(), -1.5 * torch.tensor(B))


def test_the_balance_is_over_whole_experts(method, parts):
    """Alone, A (norm sqrt 84) scores 10 / 9.2 and B (norm 8) 8 / 8; if A is strong elsewhere, B wins here."""
    some = parts([A, B])
    m = method("k_lora", top=2)
    assert m.scores(some) == pytest.approx([10 / 84**0.5, 1.0])
    assert torch.equal(m.merge(some).dense(), some[0].delta.dense())
    elsewhere = [some[0]._replace(whole_norm=lambda: 20.0), some[1]._replace(whole_norm=lambda: 8.0)]
    assert m.scores(elsewhere) == pytest.approx([0.5, 1.0])
    assert torch.equal(m.merge(elsewhere).dense(), some[1].delta.dense())


def test_a_draw_goes_to_the_first():
    assert strongest([1.0, 3.0, 2.0]) == 1
    assert strongest([2.0, 2.0]) == 0


def test_a_ramp_hands_over_from_subject_to_style(method, parts):
    """Eq. 6: with K = 2 the subject A scores 10 and the style B 8, so B takes over where its factor passes 1.25."""
    content, style = parts([A, B])
    some = [content._replace(facet="subject"), style._replace(facet="style")]
    plan = MergePlan(
        base=PlanBase(ref="b", family="f", sha256="0" * 64),
        experts=tuple(
            PlanExpert(id=facet, ref=facet, sha256=f"{index}" * 64, facet=facet)
            for index, facet in enumerate(("subject", "style"))
        ),
        method=Method(name="k_lora", params={"top": 2, "balance": False}),
        prompt="p",
        schedule=Ramp(params={"style_factor": (0.5, 2.0)}),
    )
    winners = []
    for step in range(4):
        (now,) = passes(plan, step, 4)
        merged = make(now.method).merge(some)
        assert merged is not None
        winners.append("subject" if torch.equal(merged.dense(), torch.tensor(A, dtype=torch.float32)) else "style")
    assert winners == ["subject", "subject", "style", "style"]  # factors 0.5, 1, 1.5, 2


def test_top_values_and_ranks(low):
    assert top_magnitude(torch.tensor([[1.0, -5], [3, 0]]), 2) == 8.0
    assert top_magnitude(torch.tensor([[1.0, -5], [3, 0]]), 99) == 9.0
    assert common_top([low(1, 6, 5, 2), low(2, 6, 5, 3)]) == 6
    assert common_top([Delta.of(low(1, 6, 5, 2).dense()), low(2, 6, 5, 3), low(3, 6, 5, 4)]) == round(24 ** (2 / 3))
