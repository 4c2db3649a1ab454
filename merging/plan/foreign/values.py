"""What strangers wrote, as bounded text and finite numbers; and the names of files, folded so that they compare."""

from __future__ import annotations

import math
import re
import unicodedata

MAX_TEXT = 20_000
MAX_NAME = 300
MAX_INTEGER = 2**64
_HEX = re.compile(r"[0-9a-f]{8,64}")
_NUMBER = re.compile(r"[+-]?(\d{1,24}(\.\d{0,24})?|\.\d{1,24})(e[+-]?\d{1,3})?", re.I)
_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""sha256 of no bytes, which some programs write for a file that they did not find."""
_ENDINGS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".gguf", ".sft")
_VERSION_WORDS = frozenset({"v", "ver", "version", "e", "ep", "epoch", "step", "steps", "final", "rank", "r"})
_TOKENS = re.compile(r"\d+|[^\W\d_]+")


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Printable text of at most ``limit`` characters, line breaks kept; numbers are written out, trees are empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else ""
    if not isinstance(value, str):
        return ""
    cut = value[: limit * 2]
    if not cut.isprintable() or not cut.isascii():
        cut = "".join(_printable(char) for char in cut)
    return cut[:limit].strip()


def _printable(char: str) -> str:
    """A character that is safe to hash, save and show; direction marks, controls and halves of pairs are not."""
    if char == "\n":
        return char
    if "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069":
        return ""
    category = unicodedata.category(char)
    return " " if category in ("Cc", "Zl", "Zp") else "" if category == "Cs" else char


def name(value: object) -> str:
    """A name on one line."""
    return " ".join(text(value, MAX_NAME).split())


def number(value: object) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value.strip()[:64]):
            return None
        value = float(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_INTEGER:
        return None
    return float(value) if math.isfinite(value) else None


def integer(value: object) -> int | None:
    """A whole number, exactly, also where it is written as text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,24}", value.strip()[:32]):
        value = int(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < MAX_INTEGER else None
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def hashes(*values: object) -> tuple[str, ...]:
    """Starts of sha256 sums in lower-case hex, without prefixes; other sums and the sum of nothing are left out."""
    found = []
    for value in values:
        if isinstance(value, str):
            bare = value.strip()[:100].lower().removeprefix("sha256:").removeprefix("0x")
            if _HEX.fullmatch(bare) and not _NOTHING.startswith(bare):
                found.append(bare)
    return tuple(dict.fromkeys(found))


def stem(file: str) -> str:
    """The name of a file without folders (either slash) and without the ending of a weight file."""
    last = file.replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    for ending in _ENDINGS:
        if last.lower().endswith(ending):
            return last[: -len(ending)]
    return last


def fold(file: str) -> str:
    """Letters and digits of a file's stem, so that ``Add Detail_v2.safetensors`` and ``add-detail-v2`` are equal."""
    return "".join(char for char in unicodedata.normalize("NFKC", stem(file)[:MAX_NAME]).casefold() if char.isalnum())


def without_version(file: str) -> str:
    """`fold` without the numbers at the end: ``add_detail_v2`` and ``add_detail-000010`` are both ``adddetail``."""
    tokens = _TOKENS.findall(unicodedata.normalize("NFKC", stem(file)[:MAX_NAME]).casefold())
    while tokens and (tokens[-1].isdecimal() or tokens[-1] in _VERSION_WORDS):
        tokens.pop()
    return "".join(tokens)
