"""Text that strangers wrote, made fit to be shown: no escape sequences, no controls, nothing that hides or reorders.

Cards, file and folder names, server answers, plans and prompts may hold codes that a terminal obeys: colours, a title,
the clipboard, a cursor that goes back. What is shown of them is one line of ordinary Unicode.
"""

from __future__ import annotations

import json
import re

LIMIT = 8_000
"""Longer texts are cut: a screen is no place for them."""

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, modes
    # OSC, DCS, SOS, PM, APC with their payload: title, links, clipboard
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"  # everything else
)
_BLANK = re.compile(r"\r\n|[\t-\r\x1c-\x1f\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff\ufffe\uffff]")
_INVISIBLE = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls, but the line break
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction: marks, overrides, isolates
    "\u200b\u2060-\u2065\u206a-\u206f\ufeff\u00ad\u034f\u180b-\u180f"  # no width
    "\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters that look like nothing
    "\u2028\u2029\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # format, tags
)
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
# Joiners are ordinary between the parts of an emoji and in Arabic and Indic words, and nowhere else.
_JOINABLE = "\u0300-\u1fff\u2190-\u2bff\u2e80-\ud7ff\uf900-\ufdff\ufe0f\ufe70-\ufefc\U00010000-\U0001faff"
_JOINER = re.compile(f"(?<![{_JOINABLE}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINABLE}])")
_UNFIT_BUT_BREAKS = re.compile(f"[{_INVISIBLE}\ud800-\udfff\ufffe\uffff\u200c\u200d]")


def is_clean(text: str, limit: int | None = LIMIT) -> bool:
    """Whether nothing in ``text`` can need cleaning."""
    return (limit is None or len(text) <= limit) and "\n" not in text and not _UNFIT_BUT_BREAKS.search(text)


def clean(text: str, limit: int | None = LIMIT) -> str:
    """``text`` as one line that only says what it shows; at most ``limit`` characters (None: however long).

    Escape sequences go with their payload, line breaks and tabs become blanks, invisible characters and those that
    turn the direction of writing go. Letters of every script, accents and emoji stay.
    """
    if is_clean(text, limit):
        return text
    if limit is not None:
        text = text[: limit * 4]  # what goes away below is bounded too
    text = _BLANK.sub(" ", _SEQUENCE.sub("", text))
    text = _JOINER.sub("", _HIDDEN.sub("", _SURROGATE.sub("\ufffd", text)))
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def json_text(data: object) -> str:
    """``data`` as indented JSON that a terminal shows as it stands: what `clean` takes away is written as ``\\u…``."""
    # The line breaks that are left in such a text are JSON's own.
    return _UNFIT_BUT_BREAKS.sub(lambda c: json.dumps(c[0])[1:-1], json.dumps(data, ensure_ascii=False, indent=2))
