"""``NAME.json`` as A1111, Forge and SD.Next write it: what the user typed into the card of an extra network."""

from __future__ import annotations

from ..said import USER, Said
from ..words.plain import is_nothing, number, plain
from ..words.triggers import groups, in_text
from ..words.weights import recommended
from . import Document, sidecar

_KEYS = frozenset(("activation text", "preferred weight", "sd version", "negative text", "notes", "description"))
_BASES = {"sd1": "SD 1.5", "sd2": "SD 2.1", "sdxl": "SDXL 1.0", "sd3": "SD 3"}


@sidecar("a1111", ".json")
def read(found: Document) -> Said | None:
    """A document with one of A1111's fields."""
    data = found.data
    if not _KEYS.intersection(data):
        return None
    notes = plain(data.get("notes"), 600)
    advised = recommended(notes)
    weight = number(data.get("preferred weight")) or (advised.weight if advised else None)
    negative = plain(data.get("negative text"), 600)
    return Said(
        by=found.name,
        trust=USER,
        description=_description(data.get("description"), notes),
        triggers=groups([data.get("activation text")]) or in_text(notes),
        weight=weight if weight and abs(weight) <= 20 else None,  # 0 means that none was set
        negative="" if is_nothing(negative) else negative,
        base_model=_BASES.get(str(data.get("sd version", "")).casefold(), ""),
    )


def _description(description: object, notes: str) -> str:
    said = plain(description, 1_400)
    return " ".join(part for part in (said, notes) if part and not is_nothing(part))
