"""The line of ``Name: value`` pairs that A1111 writes below a prompt: read in linear time, whatever it holds."""

from __future__ import annotations

import json
import re

MAX_PAIRS = 400
_NAME = re.compile(r"[^\W\d_][\w \-/.()]{0,79}?:")
_MAX_BAD_TREES = 8
"""So many values that begin like JSON and are none are looked through to their end; later ones are plain text."""
_DECODER = json.JSONDecoder()


def pairs(line: str) -> dict[str, object]:
    """Name -> value: text, or the tree of a value that is written as JSON. The first of equal names counts."""
    out: dict[str, object] = {}
    at, bad = 0, 0
    while at < len(line) and len(out) < MAX_PAIRS:
        if line[at] in ", \n\t":
            at += 1
            continue
        head = _NAME.match(line, at)
        if head is None:
            at = _next_comma(line, at)
            continue
        at = head.end()
        while at < len(line) and line[at] == " ":
            at += 1
        value: object = None
        if at < len(line) and line[at] in '"[{' and bad < _MAX_BAD_TREES:
            try:
                value, at = _DECODER.raw_decode(line, at)
            except (ValueError, RecursionError):
                bad += 1
        if value is None:
            end = _next_comma(line, at)
            value, at = line[at:end].strip(), end
        out.setdefault(head[0][:-1].strip(), value)
    return out


def _next_comma(line: str, at: int) -> int:
    end = line.find(",", at)
    return len(line) if end < 0 else end
