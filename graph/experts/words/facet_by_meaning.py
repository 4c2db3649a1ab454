"""Which facet an expert is about where no tag names one: meaning of what is said of it and cue words, weighed together.

A linear model, learnt from pages that their uploaders put into categories. `facet_weights.json` holds numbers only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ...embedding import Embedder
from ..expert import Facet
from .facets import cue_scores

_UNSPACED = re.compile(r"[぀-ヿ一-鿿]")


@dataclass(frozen=True)
class _Weights:
    facets: tuple[Facet, ...]
    meaning: NDArray[np.float64]
    cues: NDArray[np.float64]
    constant: NDArray[np.float64]


@cache
def _learnt() -> _Weights:
    read = json.loads((resources.files(__package__) / "facet_weights.json").read_text(encoding="utf-8"))
    meaning, cues, constant = (np.array(read[name]) for name in ("meaning", "cues", "constant"))
    return _Weights(tuple(read["facets"]), meaning, cues, constant)


def learnt_facet(
    text: str, title: str, tags: Sequence[str], triggers: Sequence[str], description: str, embedder: Embedder
) -> Facet:
    """The likeliest facet.

    Args:
        text: all that is embedded of the expert, so that its vector is needed anyway.
        title, description: as cleaned.
        tags: its page's. triggers: its words.
        embedder: of the graph; the weights are MiniLM's.
    """
    w = _learnt()
    vector = embedder.embed([text])[0].astype(np.float64)
    scores = w.meaning @ vector + w.cues @ np.array(cues(title, tags, triggers, description)) + w.constant
    return w.facets[int(scores.argmax())]


def cues(title: str, tags: Sequence[str], triggers: Sequence[str], description: str) -> list[float]:
    """What words and form speak for, as numbers: cue words of each facet in each field, then plain signs."""
    found: list[float] = []
    for text in (title, " , ".join(tags), " , ".join(triggers[:6]), description[:300]):
        found += cue_scores(text)
    name, said, called = title.casefold(), description.casefold(), " ".join(triggers).casefold()
    signs = (
        not triggers, len(triggers) == 1, len(triggers) > 3, _UNSPACED.search(title) is not None, "(" in title,
        "style" in name, "style" in called, "style" in said, "artist" in said, "character" in said,
        "1girl" in called.split() or "1boy" in called.split(), len(title.split()) <= 2, "anime" in tags,
        any("realis" in tag for tag in tags), not tags, " from " in name or " of " in name, len(description) > 150,
        "outfit" in said, "pose" in name or "pose" in said, "background" in said, "hair" in called or "eyes" in called,
        "lora for" in said, "embedding" in said,
    )  # fmt: skip
    return found + [float(sign) for sign in signs]
