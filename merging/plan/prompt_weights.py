"""The weights that people write into a prompt, as A1111 and its kin read them. No torch.

``(words:1.3)`` weighs them 1.3; ``(words)`` 1.1 and ``[words]`` 1/1.1, each pair once more (``((words))`` 1.21); a
backslash makes the bracket behind it a plain one; ``BREAK`` begins a stretch that is encoded on its own. A bracket
without its partner is plain text; a digit, a colon and two digits, "(at 10:30)", are a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_STEP = 1.1
_NUMBER = r"(?!(?<=\d):\d{2,4}\s*\)):\s*(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)"
_TOKEN = re.compile(
    rf"(?P<escaped>\\[\\()\[\]])|(?P<break>\s*\bBREAK\b\s*)|{_NUMBER}|(?P<bracket>[()\[\]])|[^\\()\[\]:B\s]+|\s+|.",
    re.DOTALL,
)
_ANY_SIGN = re.compile(r"[\\()\[\]]|\bBREAK\b")


class Piece(NamedTuple):
    """Words that have one weight."""

    text: str
    weight: float = 1.0


class _Token(NamedTuple):
    """A stretch of a prompt as typed, what it says as plain text, and its sign: one of ``()[]``, "BREAK", or ""."""

    typed: str
    plain: str
    sign: str = ""
    number: float | None = None


class _Pair(NamedTuple):
    """Two brackets that belong together, by the places of their tokens, and what they do to what is between."""

    start: int
    end: int
    factor: float
    numbered: bool


def chunks(prompt: str) -> tuple[tuple[Piece, ...], ...]:
    """A prompt taken apart: for each stretch between two BREAKs its pieces, in order; neighbours differ in weight.

    Nothing of the words is lost: the pieces of all chunks together are the prompt without its signs. A stretch
    without words is left out; a prompt without words is one chunk without pieces.
    """
    tokens = _tokens(prompt)
    starts, ends = _by_place(_pairs(tokens))
    found: list[list[Piece]] = [[]]
    within: list[_Pair] = []
    weight = 1.0
    for at, token in enumerate(tokens):
        if at in starts or at in ends:
            within = [*within, starts[at]] if at in starts else [pair for pair in within if pair.end != at]
            weight = 1.0
            for pair in reversed(within):
                weight *= pair.factor
        elif token.sign == "BREAK":
            found.append([])
        elif found[-1] and found[-1][-1].weight == weight:
            found[-1][-1] = Piece(found[-1][-1].text + token.plain, weight)
        else:
            found[-1].append(Piece(token.plain, weight))
    said = tuple(tuple(some) for some in found if any(piece.text.strip() for piece in some))
    return said or ((),)


def is_weighted(prompt: str) -> bool:
    """Whether anything in a prompt has a weight other than 1, or stands behind a BREAK."""
    found = chunks(prompt)
    return len(found) > 1 or any(piece.weight != 1.0 for piece in found[0])


def words(prompt: str) -> str:
    """A prompt without any sign of weights: what its words say, BREAK being a space."""
    if _ANY_SIGN.search(prompt) is None:
        return prompt
    return " ".join("".join(piece.text for piece in some) for some in chunks(prompt))


def taken_off(prompt: str) -> tuple[str, tuple[str, ...]]:
    """(the prompt as an encoder without weights reads it, what was weighted in it, as typed).

    A single round pair without a number stays: to whom does not weigh, it is prose.
    """
    tokens = _tokens(prompt)
    pairs = _pairs(tokens)
    starts, ends = _by_place(pairs)
    weighing = [
        pair for pair in pairs if pair.numbered or tokens[pair.start].sign == "[" or _doubled(pair, starts, ends)
    ]
    gone = {place for pair in weighing for place in (pair.start, pair.end)}
    plain = "".join(" " if token.sign == "BREAK" else token.plain for at, token in enumerate(tokens) if at not in gone)
    typed = ["".join(token.typed for token in tokens[pair.start : pair.end + 1]) for pair in _outermost(weighing)]
    typed += ["BREAK"] * any(token.sign == "BREAK" for token in tokens)
    return plain, tuple(dict.fromkeys(typed))


def _tokens(prompt: str) -> list[_Token]:
    if _ANY_SIGN.search(prompt) is None:
        return [_Token(prompt, prompt)] if prompt else []
    return [_token(match) for match in _TOKEN.finditer(prompt)]


def _token(match: re.Match[str]) -> _Token:
    typed = match[0]
    if match["escaped"]:
        return _Token(typed, typed[1:])
    if match["break"]:
        return _Token(typed, typed, "BREAK")
    if match["number"]:
        return _Token(typed, typed, ")", float(match["number"]))
    return _Token(typed, typed, typed if match["bracket"] else "")


def _pairs(tokens: Sequence[_Token]) -> list[_Pair]:
    """The brackets that have a partner. Round and square ones do not see each other."""
    open_: dict[str, list[int]] = {"(": [], "[": []}
    found = []
    for at, token in enumerate(tokens):
        if token.sign in open_:
            open_[token.sign].append(at)
        elif token.sign in (")", "]") and (waiting := open_["(" if token.sign == ")" else "["]):
            factor = token.number if token.number is not None else _STEP if token.sign == ")" else 1 / _STEP
            found.append(_Pair(waiting.pop(), at, factor, token.number is not None))
    return found


def _by_place(pairs: Sequence[_Pair]) -> tuple[dict[int, _Pair], dict[int, _Pair]]:
    return {pair.start: pair for pair in pairs}, {pair.end: pair for pair in pairs}


def _doubled(pair: _Pair, starts: dict[int, _Pair], ends: dict[int, _Pair]) -> bool:
    """Whether another pair stands directly within or around this one."""
    inner, outer = starts.get(pair.start + 1), starts.get(pair.start - 1)
    return (inner is not None and ends.get(pair.end - 1) is inner) or (
        outer is not None and ends.get(pair.end + 1) is outer
    )


def _outermost(pairs: Sequence[_Pair]) -> Iterator[_Pair]:
    last = -1
    for pair in sorted(pairs):
        if pair.end > last:
            yield pair
            last = pair.end
