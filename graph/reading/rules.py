"""How a base changes the reading of prompts: words that say nothing there, and plain backgrounds that it draws."""

from __future__ import annotations

from functools import cached_property

from ...bases.profile import ReadingWords
from .words import ARTICLES, GENERIC, STYLE_HEADS


class ReadingRules(ReadingWords):
    """The words that a base's profile brings, and what follows of them; the defaults fit any base and change nothing.

    ``filler`` is folded, singular and plural. A plain background ("plain red") is also found as "red background".
    """

    @classmethod
    def of(cls, words: ReadingWords) -> ReadingRules:
        """The rules that a profile's words make."""
        return cls(filler=words.filler, plain=words.plain, colours=words.colours)

    @cached_property
    def generic(self) -> frozenset[str]:
        """All words that carry no meaning of their own on this base."""
        return GENERIC | self.filler

    @cached_property
    def before_nouns(self) -> frozenset[str]:
        """Words that may stand between a preposition and the thing it is about."""
        return ARTICLES | (self.generic - STYLE_HEADS)

    def is_plain(self, words: tuple[str, ...]) -> bool:
        """Whether a background's name is the word for plain ones and a colour."""
        return bool(self.plain) and len(words) > 1 and words[0] == self.plain


NEUTRAL = ReadingRules()
"""For a base that says nothing of its own."""
