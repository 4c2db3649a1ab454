"""What a base changes in how prompts are read: words that say nothing there, and plain backgrounds that it draws."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from ..experts.expert import Frozen
from .words import ARTICLES, GENERIC, STYLE_HEADS


class ReadingRules(Frozen):
    """Rules that come with a base; the defaults fit any base and change nothing.

    Attributes:
        filler: words that ask for nothing on this base, because all that it draws is of that sort ("icon" where all
            images are icons). Folded, singular and plural.
        plain: the word that names a background of one colour when it stands before the colour ("plain" for
            "plain red"); such a background is then also found as "red background". Empty: no such backgrounds.
        colours: other words for the colours of those backgrounds ("crimson" -> "red").
    """

    filler: frozenset[str] = frozenset()
    plain: str = ""
    colours: dict[str, str] = Field(default_factory=dict)

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
