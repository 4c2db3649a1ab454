"""Text that the image is to show: between quotation marks, or after "that says". It is no skill to draw."""

from __future__ import annotations

import re

from .request import Marked

_MARKS = (
    r'(?<!\w)"([^"\n]{1,400})"(?!\w)', r"“([^”“\n]{1,400})”", r"„([^“”„\n]{1,400})[“”]", r"«([^«»\n]{1,400})»",
    r"»([^«»\n]{1,400})«", r"「([^「」\n]{1,400})」", r"『([^『』\n]{1,400})』", r"(?<!\w)‘([^‘’\n]{1,400})’(?!\w)",
    r"(?<!\w)'(?=\S)([^'\n]{1,400}?(?:\w'\w[^'\n]{0,200}?)?)(?<=\S)'(?!\w)",
)  # fmt: skip
_QUOTE = re.compile("|".join(_MARKS))
_SAYS = re.compile(
    r"\b(?:(?:that|which|and)\s+(?:says|say|reads)|saying|captioned|(?:en)?titled|label(?:l)?ed|inscribed\s+with|with\s+the\s+"
    r"(?:text|words?|caption|title|label|inscription|lettering|letters|slogan|message|writing))\s{0,2}:?\s+"
    r"((?!(?:in|on|at|to|the|a|an|as)\b)[^\s,.;:!?|\n\"“„«「『‘']+(?:\s+(?!(?:in|on|at|with|under|over|before|behind|against|for|to|as|and|style|from|beside|near|of)\b)"
    r"[^\s,.;:!?|\n\"“„«「『‘']+){0,5})", re.I
)  # fmt: skip
_LOOK_FOLLOWS = re.compile(r"[\s-]{0,2}(?:style|look|background|backdrop|aesthetic|vibe|effect|theme)\b", re.I)
_SAID_BEFORE = re.compile(
    r"(?:says?|saying|reads?|reading|text|words?|caption|captioned|title|titled|label|labelled|labeled|"
    r"written|writing|letters|lettering|slogan|sign|logo|message|named|called|name)\W{0,4}$",
    re.I,
)


def find_quotes(marked: Marked) -> list[tuple[int, str]]:
    """Mark quoted text; return it, each with its place. Quotes around all that is said, or around a look ("the 'neon'
    style"), quote nothing.
    """
    found: list[tuple[int, str]] = []
    for match in list(_QUOTE.finditer(marked.free)):
        inner = next(g for g in match.groups() if g is not None)
        if "|" in inner or not inner.strip():
            continue
        around = marked.free[: match.start()] + marked.free[match.end() :]
        bare = not any(c.isalnum() for c in around)
        if bare or _LOOK_FOLLOWS.match(marked.free, match.end()):
            marked.blank(match.start(), match.start() + 1)
            marked.blank(match.end() - 1, match.end())
            continue
        found.append((match.start(), inner.strip()))
        marked.mark("quoted", match.start(), match.end())
    for match in list(_SAYS.finditer(marked.free)):
        found.append((match.start(1), match[1].strip()))
        marked.mark("quoted", match.start(1), match.end(1))
    return sorted(found)
