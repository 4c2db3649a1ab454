"""The index of words beside a database, opened when it is first asked for and made anew where it fell behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..experts.expert import Expert
from ..finding.index import WordIndex


class Words:
    """The index in the file ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index: WordIndex | None = None
        self._looked_at: str | None = None

    def opened(
        self,
        stamp: str,
        count: Callable[[], int],
        experts: Callable[[], Iterable[Expert]],
        may_write: Callable[[], bool],
    ) -> WordIndex:
        """The index, whole.

        Args:
            stamp: of the graph, which changes whenever anybody writes.
            count: how many experts and bases the graph holds. experts: all of them.
            may_write: whether this process may become the graph's writer; if another is, the index is taken as it is.
        """
        if self._index is None:
            self._index = WordIndex(self._path)
        index = self._index
        if stamp == self._looked_at:
            return index
        if not (index.whole and index.count() == count()) and may_write():
            index.clear()
            with index.unfinished():
                index.put(experts())
        self._looked_at = stamp
        return index

    def in_step(self, before: str, after: str) -> None:
        """Take note that this process wrote, index and all, between two stamps: nothing has to be counted again."""
        if self._looked_at == before:
            self._looked_at = after

    def close(self) -> None:
        """Close the file."""
        if self._index is not None:
            self._index.close()
            self._index, self._looked_at = None, None
