"""Strangers' text as one plain, bounded line: no markup, no controls. Every pattern here takes linear time."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 80
MAX_READ = 20_000
"""Characters of one text that are looked at."""
_TAG = re.compile(r"<[/!a-zA-Z][^<>]{0,400}>")
_LINK = re.compile(r"\[([^\[\]\n]{0,200})\]\([^()\s]{0,400}\)")
_URL = re.compile(r"https?://[^\s<>\"')\]]{1,400}")
_NOTHING = frozenset((
    "", "-", "--", "/", ".", "null", "none", "nan", "n/a", "na", "nil", "undefined", "unknown", "no", "false", "~",
    "no trigger", "no trigger word", "no trigger words", "none needed", "not needed", "no trigger needed",
))  # fmt: skip


def clean(text: object, limit: int = MAX_TEXT) -> str:
    """One line of printable text, blanks collapsed, cut at ``limit`` characters; anything but a string becomes
    empty.
    """
    if not isinstance(text, str):
        return ""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: limit * 8])
    return " ".join(kept.split())[:limit].strip()


def is_nothing(text: str) -> bool:
    """Whether a field is filled with a word that means that it is not: ``null``, ``None``, ``n/a``."""
    return text.strip(" \"'`[]()").casefold() in _NOTHING


def plain(text: object, limit: int) -> str:
    """The words of HTML or Markdown as one line, addresses left out."""
    return clean(without_markup(text), limit)


def without_markup(text: object) -> str:
    """The words of HTML or Markdown, line by line; at most `MAX_READ` characters are looked at."""
    if not isinstance(text, str):
        return ""
    text = text[:MAX_READ]
    if "<" in text:
        text = re.sub(r"<(?:br|/p|/li|/h\d|/div|/tr)[^<>]{0,20}>", "\n", text, flags=re.I)
        text = _TAG.sub(" ", text)
    text = html.unescape(text) if "&" in text else text
    return _URL.sub(" ", _LINK.sub(r"\1", text))


def texts(value: object, limit: int = MAX_TEXT, most: int = 64) -> tuple[str, ...]:
    """The strings of a list (or one string), each cleaned, each once."""
    listed = value if isinstance(value, list | tuple) else [value]
    found = (clean(one, limit) for one in listed[: most * 4])
    return tuple(dict.fromkeys(one for one in found if one and not is_nothing(one)))[:most]


def number(value: object) -> float | None:
    """A finite number, also of a string such as ``"0,8"``; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value.strip().replace(",", ".")[:32] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 1e12 else None


def count(value: object) -> int:
    """A count, 0 for what is none."""
    found = number(value)
    return int(found) if found is not None and found > 0 else 0


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object, empty for anything else."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """A JSON list; one value is a list of it, null an empty one."""
    return value if isinstance(value, list) else [] if value in (None, "") else [value]
