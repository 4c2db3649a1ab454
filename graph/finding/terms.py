"""Words of prompts and of names as terms that can be compared: folded, singular, names written as one taken apart."""

from __future__ import annotations

import re
from functools import lru_cache

from ..reading.words import fold, singular

MAX_TERMS = 300
"""So many words of one text are looked at."""
_WORD = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_ORDERS = re.compile(r"<[^<>]{0,200}>")
_EMPHASIS = re.compile(r":\s{0,3}-?[\d.]{1,6}\s{0,3}(?=[)\]]|$)")
_UNSPACED = re.compile(r"[぀-ヿ㐀-䶿一-鿿]")
_ENDING = re.compile(r"(?:v?\d+|lora|locon|lycoris|style|final|epoch)+$")
LEAST_SQUASHED = 4


def words_of_prompt(text: str) -> str:
    """A prompt without ``<lora:…>`` and without the numbers of ``(word:1.2)``."""
    return _EMPHASIS.sub(" ", _ORDERS.sub(" ", text))


def terms(text: str, *, name: bool = False) -> tuple[str, ...]:
    """The terms of a text in order, at most `MAX_TERMS`.

    Args:
        text: any text.
        name: whether it is a name, in which ``PixelArtV2`` is three words.
    """
    return _terms(_CAMEL.sub(" ", text[:4000]) if name else text[:4000])


@lru_cache(maxsize=100_000)
def _terms(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for word in _WORD.findall(fold(text)):
        if _UNSPACED.match(word):
            found += [word[i : i + 2] for i in range(len(word) - 1)] or [word]
        elif word.isascii() and not word.endswith("ss"):
            found.append(singular(word))
        else:
            found.append(word)
        if len(found) >= MAX_TERMS:
            break
    return tuple(found[:MAX_TERMS])


def squashed(text: str, least: int = LEAST_SQUASHED) -> str:
    """A name without blanks, marks, and endings that tell versions apart: ``Pixel_Art-v2`` is ``pixelart``.

    Empty where fewer letters are left than ``least``: too little to be told by.
    """
    bare = "".join(_WORD.findall(fold(text[:200])))
    short = _ENDING.sub("", bare) or bare
    unspaced = _UNSPACED.search(short) is not None
    return short if len(short) >= min(least, 2 if unspaced else least) else ""
