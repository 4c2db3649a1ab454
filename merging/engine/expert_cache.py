"""Experts that were read before, kept within a budget of bytes; the least recently used leaves first."""

from __future__ import annotations

from cachetools import LRUCache

from ..deltas.expert_delta import ExpertDelta


def expert_cache(budget: int) -> LRUCache[str, ExpertDelta]:
    """sha256 -> expert. The newest always stays, even if it alone is over the budget.

    Args:
        budget: bytes of memory for all of them.
    """
    budget = max(1, budget)
    # A value over the maximum would be refused; counted as just the maximum, it makes all others leave instead.
    return LRUCache(budget, getsizeof=lambda expert: min(held_bytes(expert), budget))


def held_bytes(expert: ExpertDelta) -> int:
    """Memory an expert takes: its tensors, and some for each delta that is but a view of a file."""
    return expert.nbytes + 4096 * len(expert.deltas)
