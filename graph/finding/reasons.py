"""Why an expert was thought of, in words that a user reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .asked import Asked
from .entry import FIELDS, SORTS
from .evidence import COLUMNS
from .index import Found

_SPOKEN = {"trigger": "its trigger", "title": "its title", "file": "its file's name", "tag": "its tag"}
_ALIKE_FROM = 0.45
_MOST = 3
BY_KIN = "experts like it have example prompts like this one"
_TELLS = 0.2
"""What a word must weigh to be a reason: "a" and "girl" are none."""


def reasons(asked: Asked, one: Found, row: NDArray[np.float64]) -> tuple[str, ...]:
    """What speaks for a candidate, the strongest first; at most three."""
    told: list[tuple[float, str]] = []
    named: set[str] = set()
    for field, phrases in zip(FIELDS, one.phrases, strict=True):
        if field not in _SPOKEN:
            continue
        whole = [p for p in phrases if p in asked.runs and not (field == "tag" and SORTS.issuperset(p))]
        if whole:
            best = max(whole, key=asked.weight_of)
            told.append((asked.weight_of(best), f"{_SPOKEN[field]} {' '.join(best)!r} is in the prompt"))
            named.update(best)
    for field, phrases in zip(FIELDS, one.phrases, strict=True):
        said = {w for p in phrases for w in p if asked.weights.get(w, 0.0) >= _TELLS and w not in named}
        if said:
            words = sorted(said, key=lambda w: (-asked.weights[w], w))[:3]
            place = _SPOKEN.get(field, "its description" if field == "about" else "its training tags")
            told.append((0.5 * asked.weight_of(words), f"{place} says {', '.join(words)}"))
            named |= said
    at = dict(zip(COLUMNS, row, strict=True))
    if at["misspelt"] > 0 and not named:
        told.append((float(at["misspelt"]), "its name is spelt nearly like a word of the prompt"))
    alike = float(at["alike"])
    if alike >= _ALIKE_FROM:
        told.append((alike, f"alike in meaning ({alike:.2f})"))
    if at["kin"] > 0:
        told.append((0.0, BY_KIN))
    return tuple(text for _, text in sorted(told, key=lambda t: -t[0])[:_MOST])
