"""The method gives the mean of the weighted deltas."""

from __future__ import annotations

import torch

from diffgraph import Method
from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.methods.method import Part, make


def test_it_is_the_mean_of_the_weighted_deltas() -> None:
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    parts = [Part("a", "subject", 1.0, Delta.of(a)), Part("b", "style", 0.5, Delta.of(b))]
    merged = make(Method(name="mean")).merge(parts)
    assert merged is not None
    torch.testing.assert_close(merged.dense(), (a + 0.5 * b) / 2)


def test_a_single_expert_is_taken_as_it_is() -> None:
    a = torch.randn(4, 3)
    merged = make(Method(name="mean")).merge([Part("a", "subject", 0.5, Delta.of(a))])
    assert merged is not None
    torch.testing.assert_close(merged.dense(), 0.5 * a)
