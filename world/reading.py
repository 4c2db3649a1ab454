"""How prompts for the embedded world are read: all its images are emoji, and its base draws ten plain backgrounds."""

from __future__ import annotations

from ..bases.profile import ReadingWords

READING = ReadingWords(
    filler=frozenset(["icon", "icons", "emoji", "emojis", "clipart", "sticker", "graphic"]),
    plain="plain",
    colours={
        "crimson": "red", "scarlet": "red", "ruby": "red", "maroon": "red", "azure": "blue", "navy": "blue", "cobalt":
        "blue", "violet": "purple", "lilac": "purple", "lavender": "purple", "magenta": "pink", "fuchsia": "pink",
        "rose": "pink", "emerald": "green", "lime": "green", "golden": "yellow", "amber": "orange", "ivory": "white",
        "snowy": "white", "ebony": "black", "tan": "brown", "chestnut": "brown", "silver": "gray", "ash": "gray",
    },
)  # fmt: skip
