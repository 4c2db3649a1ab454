"""The cache by bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diffgraph.merging.engine.expert_cache import ByteCache


@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), max_size=30))
def test_it_keeps_the_most_recent_within_its_budget(budget, puts):
    cache: ByteCache[int] = ByteCache(budget, lambda value: value)
    model: list[tuple[str, int]] = []
    for key, size in puts:
        cache.put(key, size)
        model = [item for item in model if item[0] != key] + [(key, size)]
        while sum(kept for _, kept in model) > budget and len(model) > 1:
            model.pop(0)
        assert list(cache) == [kept for kept, _ in model]
        assert cache.nbytes == sum(kept for _, kept in model)


def test_what_is_asked_for_is_recent():
    cache: ByteCache[int] = ByteCache(2, lambda value: 1)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert list(cache) == ["a", "c"]
    assert cache.get("b") is None
    cache.drop("b")
    cache.drop("a")
    assert list(cache) == ["c"]
    assert len(cache) == cache.nbytes == 1
