"""Experts that were read are kept within a budget of bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.deltas.expert_delta import ExpertDelta
from diffgraph.merging.engine.expert_cache import expert_cache, held_bytes

PAGE = 4096


def expert(pages: int) -> ExpertDelta:
    """One that counts for so many pages, two or more."""
    delta = Delta.of(torch.zeros((pages - 1) * PAGE // 4, 1))
    return ExpertDelta(Path("x"), "full", "full", None, {"unet.a.weight": delta})


@given(st.integers(0, 20), st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(2, 12)), max_size=30))
def test_it_keeps_the_most_recent_within_its_budget(pages, puts):
    cache = expert_cache(pages * PAGE)
    model: list[tuple[str, int]] = []
    for key, size in puts:
        made = cache[key] = expert(size)
        assert held_bytes(made) == size * PAGE
        model = [item for item in model if item[0] != key] + [(key, size)]
        while sum(kept for _, kept in model) > pages and len(model) > 1:
            model.pop(0)
        assert set(cache) == {kept for kept, _ in model}
        assert cache[key] is made


def test_what_is_asked_for_is_recent():
    cache = expert_cache(4 * PAGE)
    cache["a"], cache["b"] = expert(2), expert(2)
    assert cache.get("a") is not None
    cache["c"] = expert(2)
    assert set(cache) == {"a", "c"}
    assert cache.get("b") is None


def test_one_that_is_over_the_budget_stays_alone():
    cache = expert_cache(4 * PAGE)
    cache["a"] = expert(2)
    cache["big"] = expert(100)
    assert set(cache) == {"big"}
    cache["b"] = expert(2)
    assert set(cache) == {"b"}
