"""Phrases that rule out what follows them, and "neon-free", which rules out what it begins with."""

from __future__ import annotations

import re

from .request import Marked
from .words import fold

PHRASES: tuple[tuple[str, ...], ...] = tuple(
    tuple(p.split())
    for p in (
        "instead of", "rather than", "in place of", "in lieu of", "as opposed to", "anything but", "everything but",
        "all but", "anything other than", "something other than", "anything except", "everything except", "apart from",
        "aside from", "other than", "except for", "except", "excluding", "free of", "free from", "but not", "and not",
        "but no", "get rid of", "not including", "leave away", "keep out", "leave out", "leaving out", "with no",
        "with zero", "devoid of", "with none of",
    )
)  # fmt: skip
_WORDS_WITH_FREE = frozenset(
    [
        "sugar", "gluten", "fat", "care", "hands", "hand", "duty", "toll", "dairy", "caffeine", "alcohol", "lead",
        "cruelty", "wrinkle", "stress", "rent", "worry", "trouble", "tax", "risk", "nut", "oil", "acid", "lactose",
        "egg", "wheat", "meat", "cage", "pain", "germ", "bug", "drought", "scot", "royalty", "interest", "jargon",
        "guilt", "error", "rust", "free", "crime", "debt", "drug"
    ]
)  # fmt: skip


def find_free(marked: Marked) -> list[tuple[int, str]]:
    """ "neon-free", but not "sugar-free", which is a quality."""
    found: list[tuple[int, str]] = []
    for match in list(re.finditer(r"(?<![\w-])([^\W_]{2,40})-free(?![\w-])", marked.free, re.I)):
        if fold(match[1]) not in _WORDS_WITH_FREE:
            found.append((match.start(), match[1]))
            marked.mark("exclusion", match.start(), match.end(), bar=False)
    return found
