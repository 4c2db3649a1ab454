"""What the grammar around a stretch of a prompt says it is: a style, a background, a modifier, ruled out, or nothing
special.
"""

from __future__ import annotations

from collections.abc import Sequence

from .models import Cue
from .rules import ReadingRules
from .words import (
    BACKGROUND_HEADS,
    BEHIND,
    FOREIGN,
    GENERIC_HEADS,
    MODALS,
    STOP,
    STYLE_HEADS,
    STYLE_LEADS,
    STYLE_VERBS,
    Token,
)


def cue_of(text: str, tokens: Sequence[Token], start: int, end: int, rules: ReadingRules) -> Cue | None:
    """The cue for ``tokens[start:end]``; words after it speak louder than words before it."""
    return cue_after(tokens, end) or _before(text, tokens, start, rules)


def cue_after(tokens: Sequence[Token], end: int) -> Cue | None:
    """What the words after a stretch make of it: "… style", "… background", "… in the background"."""
    if end >= len(tokens) or tokens[end].breaks:
        return None
    ahead = [t.form for t in tokens[end : end + 4]]
    if ahead[0] in BACKGROUND_HEADS or ahead[:3] == ["in", "the", "background"] or ahead[:2] == ["as", "background"]:
        return "background"
    if ahead[:3] == ["as", "a", "background"] or ahead[:3] == ["as", "the", "background"]:
        return "background"
    if ahead[0] == "behind" and (len(ahead) == 1 or ahead[1] in ("it", "him", "her", "them")):
        return "background"
    if ahead[0] in STYLE_HEADS and (ahead[0] not in GENERIC_HEADS or ahead[1:2] == ["of"]):
        return "style"
    return None


def _before(text: str, tokens: Sequence[Token], start: int, rules: ReadingRules) -> Cue | None:
    at = start
    while at > 0 and start - at < 3 and not tokens[at].breaks and tokens[at - 1].form in rules.before_nouns:
        at -= 1
    if at == 0:
        return None
    word = tokens[at - 1].form
    between = text[tokens[at - 1].end : tokens[at].start].strip()
    if between == ":":
        return "style" if word in ("style", "look") else "background" if word in BACKGROUND_HEADS else None
    if tokens[at].breaks:
        return None
    earlier = tokens[at - 2].form if at > 1 and not tokens[at - 1].breaks else ""
    if word == "of":
        if earlier in STYLE_LEADS:
            return "style"
        if earlier in STYLE_VERBS:
            return "modifier"  # "made of bricks"
        return "background" if earlier in BACKGROUND_HEADS or earlier in ("front", "top", "middle", "back") else None
    if word in ("as", "in", "with", "using", "by", "like", "into") and (
        earlier in STYLE_VERBS or earlier in STYLE_HEADS
    ):
        return "style"
    return "background" if word in BEHIND else None


def is_verb(tokens: Sequence[Token], at: int) -> bool:
    """Whether a word that is also a thing's name acts here: "to watch", "can fly"."""
    return at > 0 and not tokens[at].breaks and tokens[at - 1].form in MODALS and not _giving(tokens, at - 1)


def _giving(tokens: Sequence[Token], at: int) -> bool:
    """ "to" as in "next to crabs" or "similar to a ring" is no infinitive."""
    return tokens[at].form == "to" and at > 0 and tokens[at - 1].form in ("next", "close", "similar", "addition")


def is_content(token: Token, rules: ReadingRules) -> bool:
    """Whether a word carries meaning of its own."""
    return not (token.form in STOP or token.form in rules.generic or token.key in rules.generic)


def is_foreign(tokens: Sequence[Token]) -> bool:
    """Whether the function words say that this is not English."""
    foreign = sum(t.form in FOREIGN and t.form not in STOP for t in tokens)
    english = sum(t.form in STOP and t.form not in FOREIGN for t in tokens)
    return (foreign >= 2 and foreign > english) or (foreign == 1 and english == 0 and len(tokens) >= 2)
