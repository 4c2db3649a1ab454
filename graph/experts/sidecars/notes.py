"""``NAME.txt`` and the like: free notes, in which people keep the words that call it."""

from __future__ import annotations

from ..said import USER, Said
from ..words.plain import plain, without_markup
from ..words.triggers import group, in_text
from ..words.weights import recommended
from . import Document, sidecar

_A_LIST = 200
"""A text as short as this, on one line, is the list of words itself."""


@sidecar("notes", ".txt", is_json=False)
def read(found: Document) -> Said | None:
    """Any text."""
    text = without_markup(found.text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    words = in_text(text)
    if not words and len(lines) == 1 and len(lines[0]) <= _A_LIST and all(len(w.split()) <= 4 for w in group(lines[0])):
        words = (group(lines[0]),) if group(lines[0]) else ()
    advised = recommended(text)
    return Said(
        by=found.name,
        trust=USER - 20,
        description=plain(text, 1_900),
        triggers=words,
        weight=advised.weight if advised else None,
        weight_min=advised.low if advised else None,
        weight_max=advised.high if advised else None,
    )
