"""What was read or loaded before, kept within a budget of bytes; the least recently used leaves first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Key -> value, at most ``budget`` bytes of them. The newest always stays, even if it alone is over the budget.

    Args:
        budget: bytes in all.
        size: bytes of a value, asked once, when it is put in.
    """

    def __init__(self, budget: int, size: Callable[[V], int]) -> None:
        self._budget, self._size = budget, size
        self._held: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[str]:
        """Keys, the least recently used first."""
        return iter(self._held)

    def get(self, key: str) -> V | None:
        """The value, now the most recently used; None if it is not here."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: str, value: V) -> None:
        """Keep a value, and let go of others until all fit."""
        self.drop(key)
        size = self._size(value)
        self._held[key] = value, size
        self.nbytes += size
        while self.nbytes > self._budget and len(self._held) > 1:
            self.drop(next(iter(self._held)))

    def drop(self, key: str) -> None:
        """Let go of a value, if it is here."""
        found = self._held.pop(key, None)
        if found is not None:
            self.nbytes -= found[1]
