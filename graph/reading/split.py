"""From what was typed to its parts: words to draw, orders, exclusions, text to write."""

from __future__ import annotations

import re

from .exclusions import find_exclusions
from .languages import in_english, language_of
from .order_sheet import OrderSheet
from .orders import find_block, find_orders
from .quotes import find_quotes
from .request import Marked, Part, Request

MOST_CHARACTERS = 20_000
"""Of a prompt; what is beyond is left out by name."""


def split(text: str) -> Request:
    """Take apart what a user typed. No character is lost: ``Request.parts`` cover the text.

    Takes time linear in the text's length.
    """
    marked = Marked(text)
    if len(text) > MOST_CHARACTERS:
        marked.mark("left out", MOST_CHARACTERS, len(text), f"is beyond {MOST_CHARACTERS:,} characters")
    found = OrderSheet()
    find_block(marked, found)
    quoted = find_quotes(marked)
    find_orders(marked, found)
    language = language_of(marked.free)
    english, places = in_english(marked.free, language) if language else ("", ())
    inner = Marked(english) if language else marked
    excluded = sorted(found.excluded) + find_exclusions(inner)
    request = Request(text=text, language=language, english=english, places=places)
    if language:
        for part in (p for p in inner.parts() if p.kind == "exclusion"):
            marked.mark("exclusion", *request.typed(part.start, part.end))
    parts = marked.parts()
    return Request(
        text=text,
        parts=parts,
        words=_tidy(parts),
        language=language,
        english=english,
        places=places,
        plain=inner.free,
        orders=found.orders(),
        excluded=tuple(dict.fromkeys(thing for _, thing in excluded)),
        quoted=tuple(said for _, said in quoted),
    )


def _tidy(parts: tuple[Part, ...]) -> str:
    """The words in one text, without the commas and blanks that stood around what was taken out."""
    said = "".join(p.text if p.kind in ("words", "quoted") else "\0" for p in parts)
    said = re.sub(r"^\s*\0[\s\0]*[,;.!?]+", "", said)
    said = re.sub(r"[(\[{]\s*\0[\s\0]*[)\]}]", "\0", said)
    said = re.sub(r"[\s,;]*\0[\s\0]*(?=[,;:.!?)\]])", "", said)
    said = re.sub(r"([,;])\s*\0[\s\0]*", r"\1 ", said)
    said = re.sub(r"\s*\0[\s\0]*", " ", said)
    return re.sub(r"[ \t]{2,}", " ", said).strip(" \t\r\n,;")
