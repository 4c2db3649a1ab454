"""Rows of one of Chroma's collections, read in pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 5000
"""Rows that are read at once: SQLite takes only so many variables in one question (32,766)."""


@dataclass(frozen=True)
class Row:
    """One row of a collection; ``vector`` is None where it was not asked for."""

    key: str
    document: str
    meta: dict[str, Any]
    vector: NDArray[np.float32] | None = None


def paged(collection: Any, where: dict[str, Any] | None, vectors: bool) -> Iterator[Row]:
    """The rows of one collection, `PAGE` at a time."""
    include = ["documents", "metadatas", *(["embeddings"] if vectors else [])]
    for offset in itertools.count(0, PAGE):
        got = collection.get(where=where, include=include, limit=PAGE, offset=offset)
        for i, key in enumerate(got["ids"]):
            vector = np.asarray(got["embeddings"][i], np.float32) if vectors else None
            yield Row(key, got["documents"][i], got["metadatas"][i], vector)
        if len(got["ids"]) < PAGE:
            return


def keyed(collection: Any, ids: Sequence[str], vectors: bool) -> Iterator[Row]:
    """The rows of one collection with certain keys."""
    include = ["documents", "metadatas", *(["embeddings"] if vectors else [])]
    for at in range(0, len(ids), PAGE):
        got = collection.get(ids=list(ids[at : at + PAGE]), include=include)
        for i, key in enumerate(got["ids"]):
            vector = np.asarray(got["embeddings"][i], np.float32) if vectors else None
            yield Row(key, got["documents"][i], got["metadatas"][i], vector)
