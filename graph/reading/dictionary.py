"""English words as people write them: what is a word is no slip of another."""

from __future__ import annotations

from functools import cache, lru_cache

from ..embedding import word_ranks
from .words import SPELLING

COMPOUND = 40
"""So often the dictionary's texts must have a word for it to speak for two words that are written apart."""


@cache
def _frequencies() -> dict[str, int]:
    """Word -> how often pyspellchecker's English texts have it; read once, and only when a word is in doubt."""
    from spellchecker import SpellChecker

    return dict(SpellChecker(language="en").word_frequency.dictionary)


def is_word(word: str, singular: str = "") -> bool:
    """Whether a folded word is one that English knows."""
    ranks = word_ranks()
    if word in ranks or (singular and singular in ranks) or word in SPELLING:
        return True
    return word in _frequencies() or bool(singular and singular in _frequencies())


@lru_cache(maxsize=20_000)
def frequency(word: str) -> int:
    """How often English texts have a word; 0 for none."""
    return _frequencies().get(word, 0)
