"""What speaks for an expert, as numbers: a row an expert, a column a kind of evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log1p

import numpy as np
from numpy.typing import NDArray

from .asked import Asked
from .entry import FIELDS, SORTS
from .index import Found

Rows = NDArray[np.float64]
_SATURATION = 1.2
_LENGTH_SHARE = 0.5
_USUAL_TERMS = {"trigger": 8.0, "title": 8.0, "file": 4.0, "tag": 8.0, "seen": 40.0, "about": 45.0}
"""About how many terms a field holds: BM25's average length, fixed so that no other expert changes a score."""
_FIELD_WEIGHTS = {"trigger": 1.0, "title": 1.2, "file": 1.0, "tag": 0.6, "seen": 0.4, "about": 0.4}
_STYLE = frozenset(["style", "artstyle", "artist"])
_WHOLE_TRIGGER = 8.0
"""Rarity from which a trigger that stands there whole counts fully."""

COLUMNS = (
    *(f"says_{field}" for field in FIELDS), "says", "name_trigger", "name_tag", "written_as_one", "misspelt",
    "trigger_whole", "alike", "popularity", "no_trigger", "style", "kin",
)  # fmt: skip
RANKED = ("says", "alike", "says_about", "name_tag", "kin")
"""Columns of which the place among the candidates counts as well."""
COMPARED = ("says", "trigger_whole", "kin")
"""Columns of which the share of the best candidate's counts as well."""
ALL_COLUMNS = (*COLUMNS, *(f"{c}_place" for c in RANKED), *(f"{c}_share" for c in COMPARED))


def of_words(
    asked: Asked, found: Sequence[Found], squashed: Mapping[int, float], misspelt: Mapping[int, float]
) -> Rows:
    """The columns that words give; that of meaning stays 0.

    Args:
        asked: the prompt.
        found: the candidates.
        squashed, misspelt: by number, what names written as one and words spelt nearly so weigh.
    """
    rows = np.zeros((len(found), len(COLUMNS)))
    for row, one in zip(rows, found, strict=True):
        _fill(row, asked, one)
        row[_AT["written_as_one"]] = squashed.get(one.num, 0.0)
        row[_AT["misspelt"]] = misspelt.get(one.num, 0.0)
    return rows


_AT = {name: i for i, name in enumerate(COLUMNS)}


def _fill(row: Rows, asked: Asked, one: Found) -> None:
    total = 0.0
    for field, phrases in zip(FIELDS, one.phrases, strict=True):
        if field == "tag":
            phrases = tuple(p for p in phrases if not SORTS.issuperset(p))
        said = _says(field, phrases, asked)
        row[_AT[f"says_{field}"]] = said
        total += _FIELD_WEIGHTS[field] * said
        if field in ("trigger", "tag"):
            row[_AT[f"name_{field}"]] = max((asked.weight_of(p) for p in phrases if p in asked.runs), default=0.0)
    by_field = dict(zip(FIELDS, one.phrases, strict=True))
    row[_AT["says"]] = total
    row[_AT["trigger_whole"]] = max((_covered(p, asked) for p in by_field["trigger"]), default=0.0)
    row[_AT["popularity"]] = log1p(one.popularity) / 10
    row[_AT["no_trigger"]] = float(not one.calls)
    row[_AT["style"]] = float(any(w in _STYLE for f in ("title", "tag") for p in by_field[f] for w in p))


def _says(field: str, phrases: Sequence[Sequence[str]], asked: Asked) -> float:
    """BM25 of a field, each term weighed by its rarity among prompts."""
    counts: dict[str, int] = {}
    for phrase in phrases:
        for word in set(phrase):
            counts[word] = counts.get(word, 0) + 1
    length = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * len(counts) / _USUAL_TERMS[field])
    return sum(
        asked.weights[word] * min(n, 2) * (_SATURATION + 1) / (min(n, 2) + length)
        for word, n in counts.items()
        if word in asked.weights
    )


def _covered(phrase: Sequence[str], asked: Asked) -> float:
    """The share of a phrase's rarity that the prompt says; phrases of little rarity count less."""
    if not any(word in asked.weights for word in phrase):
        return 0.0
    mass = sum(asked.rarity(word) for word in phrase)
    said = sum(asked.rarity(word) for word in phrase if word in asked.weights)
    return said / mass * min(1.0, mass / _WHOLE_TRIGGER)


def add_meaning(rows: Rows, alike: Rows) -> None:
    """Fill the column of meaning, in place: ``alike`` (experts,), cosine of what is said with the prompt."""
    rows[:, _AT["alike"]] = alike


def add_kin(rows: Rows, likeness: Rows) -> None:
    """Fill the column of kin, in place: ``likeness`` (experts,), as `kin.Kin.likeness`."""
    rows[:, _AT["kin"]] = likeness


def compared(rows: Rows) -> Rows:
    """`ALL_COLUMNS`: the columns, evened out, then how each candidate stands among the others."""
    even = rows.copy()
    for name in COLUMNS[: _AT["trigger_whole"]]:
        even[:, _AT[name]] = np.log1p(np.clip(rows[:, _AT[name]], 0, None))
    places = [_place(rows[:, _AT[name]]) for name in RANKED]
    shares = [rows[:, _AT[name]] / max(float(rows[:, _AT[name]].max(initial=0.0)), 1e-9) for name in COMPARED]
    return np.column_stack([even, *places, *shares])


def _place(values: Rows) -> Rows:
    place = np.empty(len(values))
    place[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return np.where(values > 0, 1 / (3 + place), 0.0)


def is_called(row: Rows) -> bool:
    """Whether the prompt says a trigger or a name of the expert whole."""
    return any(row[_AT[name]] > 0 for name in ("name_trigger", "name_tag", "written_as_one"))
