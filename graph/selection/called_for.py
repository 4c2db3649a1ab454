"""Whether the words of a prompt clearly call for a skill, on a base that draws those words by itself.

There nothing is lost without an expert, so one is called for a thing that is named, and for a look or a scene that the
grammar asks for or that stands by itself: "neon" in "a fox, neon" and in "neon style" is a look, in "a neon sign" it is
none. Names that say little, or that half the prompts hold ("photo", "woman"), call for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..embedding import word_ranks
from ..experts.expert import Facet
from ..reading.compounds import is_other_thing
from ..reading.dictionary import is_word
from ..reading.grammar import cue_after, cue_of, is_content
from ..reading.models import Span
from ..reading.rules import NEUTRAL, ReadingRules
from ..reading.words import (
    ART,
    ARTICLES,
    BACKGROUND_HEADS,
    DESCRIBING,
    GENERIC,
    GENERIC_HEADS,
    STOP,
    STYLE_HEADS,
    Token,
    keys_of,
)

COMMON_WORD = 12_000
"""Place in the word list up to which a word stands in many prompts, whatever they ask for."""
SURE = 0.72
"""Cosine from which a look or a scene that the grammar asks for in so many words is found by meaning."""
LOOKS: frozenset[Facet] = frozenset({"style", "background", "action", "lighting", "quality"})
_MATERIALS = frozenset(["ink", "oil", "comic", "mosaic", "pastel", "vector", "sketch", "mural", "embroidery"])
"""Words of art that name things as well: a bottle of ink is no ink drawing."""
_INTO_LOOK = frozenset(["in", "as", "like", "into", "with"])


def called_for(span: Span, text: str, tokens: Sequence[Token], rules: ReadingRules) -> bool:
    """Whether a stretch that names a skill asks for an expert that has it.

    Args:
        span: the stretch; its offsets are into ``text``.
        tokens: the words of ``text`` that are read.
    """
    at = _place(span, tokens)
    if at is None or span.how == "head":
        return False  # "a truck" asks for no fire truck
    start, end = at
    cue = cue_of(text, tokens, start, end, rules)
    if span.how == "meaning":
        plainly = cue if span.facet == "style" else cue_after(tokens, end)
        return span.score >= SURE and plainly == span.facet
    words = [w for w in keys_of(span.text) if w not in STOP]
    if not words or all(_says_little(w) for w in words):
        return False
    if span.facet not in LOOKS:
        named = cue_after(tokens, end) is None and not _qualifies(tokens, start, end, words)
        return named and not is_other_thing(tokens, start, end)
    if cue == span.facet or _alone(tokens, start, end) or _heads(tokens, start, end):
        return True
    if span.facet == "style":
        return _is_look(tokens, start, end, words)
    return len(words) > 1 or _rare(words[0])


def _place(span: Span, tokens: Sequence[Token]) -> tuple[int, int] | None:
    inside = [i for i, t in enumerate(tokens) if t.start >= span.start and t.end <= span.end]
    return (inside[0], inside[-1] + 1) if inside else None


def _says_little(word: str) -> bool:
    return word in GENERIC or word in DESCRIBING or word in STYLE_HEADS or word in BACKGROUND_HEADS or word.isdigit()


def _rare(word: str) -> bool:
    return word_ranks().get(word, COMMON_WORD) >= COMMON_WORD


def _alone(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether nothing else stands between two breaks, articles aside: a tag of its own."""
    first = start
    while first > 0 and not tokens[first].breaks and tokens[first - 1].form in ARTICLES | STYLE_HEADS:
        first -= 1
    after = end
    while after < len(tokens) and not tokens[after].breaks and tokens[after].form in STYLE_HEADS | BACKGROUND_HEADS:
        after += 1
    return (first == 0 or tokens[first].breaks) and (after == len(tokens) or tokens[after].breaks)


def _heads(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether a word for looks follows: "neon art", "watercolor painting of …"."""
    return end < len(tokens) and not tokens[end].breaks and tokens[end].form in STYLE_HEADS | GENERIC_HEADS


def _is_look(tokens: Sequence[Token], start: int, end: int, words: Sequence[str]) -> bool:
    before = start
    while before > 0 and not tokens[before].breaks and tokens[before - 1].form in ARTICLES:
        before -= 1
    lead = tokens[before - 1].form if before > 0 and not tokens[before].breaks else ""
    last = end == len(tokens) or tokens[end].breaks
    if lead in _INTO_LOOK and last:
        return True  # "a fox in neon", "as a blueprint"
    if any(w in ART - _MATERIALS or w in STYLE_HEADS for w in words):
        return lead != "of"
    if lead != "of" and end < len(tokens) and tokens[end].form == "of" and any(w in ART for w in words):
        return True  # "a mosaic of a fox"
    return not any(is_word(w) for w in words)  # a name: "ghibli fox"


def _qualifies(tokens: Sequence[Token], start: int, end: int, words: Sequence[str]) -> bool:
    """Whether a common thing's name only says which of another thing: "a car park".

    Acting words may follow ("a car parked", "a dog runs"), and a rare name is called wherever it stands.
    """
    if end >= len(tokens) or tokens[end].breaks or all(_rare(w) for w in words):
        return False
    following = tokens[end]
    if following.form in ART or following.form in STYLE_HEADS or following.form.endswith(("ing", "ed", "ly")):
        return False
    if following.form.endswith("s") and following.form != following.key:
        return not _acts(tokens, start, end)
    return is_content(following, NEUTRAL)


def _acts(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether the word behind a thing's name is what it does ("a car drives along", "a dog runs"), not a plural."""
    if end + 1 < len(tokens) and not tokens[end + 1].breaks:
        return tokens[end + 1].form in STOP
    return start > 0 and tokens[start - 1].form in ARTICLES
