"""Triggers put into the user's own words: each where it is missing, once, and never inside what was typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Position = Literal["front", "end"]
_OPENING = {"(": ")", "[": "]", "{": "}", "“": "”", "„": "“", "«": "»", "「": "」", "『": "』"}
_BRACKET = re.compile(r"\\?([()\[\]])")
_ENDS_SENTENCE = (".", "!", "?", "…", "。", "！", "？")


def with_triggers(words: str, triggers: Iterable[str], position: Position = "front", *, read: str | None = None) -> str:
    """The words as they are, with the triggers that are missing before or behind them.

    Args:
        words: as the user typed them.
        triggers: of the chosen experts; an empty one is passed over.
        position: where triggers stand that suits the base. Behind words that leave a bracket or a quotation mark open
            they would become part of it, so there they stand in front.
        read: the words in which a trigger counts as said; ``words`` by default. Text that the image is to show says
            none.
    """
    said = words if read is None else read
    missing: list[str] = []
    for trigger in triggers:
        tidy = " ".join(trigger.split())
        if tidy.strip("_\\ ") and not says(said, tidy) and not any(says(other, tidy) for other in missing):
            missing = [other for other in missing if not says(tidy, other)] + [tidy]
    added = ", ".join(_escaped(trigger) for trigger in missing)
    if not added or not words.strip():
        return added or words
    if position == "front" or _left_open(words):
        return f"{added}, {words.lstrip()}"
    kept = words.rstrip()
    joint = " " if kept.endswith((*_ENDS_SENTENCE, ",", ";")) else ", "
    return f"{kept}{joint}{added}"


def _escaped(trigger: str) -> str:
    """A trigger as it is typed: its brackets are part of a name ("saber (fate)") and weigh nothing."""
    return _BRACKET.sub(r"\\\1", trigger)


def says(text: str, trigger: str) -> bool:
    """Whether a trigger stands in a text as whole words; case, blanks, underscores and escaped brackets aside."""
    words = re.split(r"[\s_]+", trigger.replace("\\", "").strip(" _"))
    pattern = r"[\s_]+".join(re.escape(word) for word in words)
    return bool(words[0]) and bool(re.search(rf"(?<![^\W_]){pattern}(?![^\W_])", text.replace("\\", ""), re.IGNORECASE))


def _left_open(text: str) -> bool:
    """Whether a bracket or a quotation mark is opened and not closed."""
    waiting: list[str] = []
    for char in text.replace("\\(", "").replace("\\[", ""):
        if waiting and char == waiting[-1]:
            waiting.pop()
        elif char in _OPENING:
            waiting.append(_OPENING[char])
    return bool(waiting) or text.count('"') % 2 == 1
