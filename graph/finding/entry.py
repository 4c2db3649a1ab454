"""An expert as it is found by: short names in fields, each field with a weight of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..experts.expert import Expert
from .terms import LEAST_SQUASHED, squashed, terms

FIELDS = ("trigger", "title", "file", "tag", "seen", "about")
"""What calls it, its title, its files, its page's tags, the tags of its training pictures, its description."""
SORTS = frozenset(
    ["style", "background", "subject", "character", "concept", "clothing", "pose", "object", "tool", "action", "art"]
)
"""Tags that say what sort of expert one is, and nothing of what it draws: a prompt that says one asks for none."""
NAMES = ("trigger", "title", "file", "tag")
"""Fields of names; ``seen`` and ``about`` hold running text."""
_MOST_PHRASES = 96
_PARTS = re.compile(r"[|/()\[\],:;（）【】「」『』、，\-–—]+|\s{2,}")
_GIVEN = ("title", "file")
"""Fields in which several words are written as one."""


@dataclass(frozen=True)
class Entry:
    """The terms of an expert: of every field its phrases, of every phrase its terms; ``squashed``: (name, field)."""

    fields: tuple[tuple[tuple[str, ...], ...], ...]
    squashed: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, expert: Expert, least: int = LEAST_SQUASHED) -> Entry:
        """What an expert's node says, as it is found by; its names written as one have at least so many letters."""
        said = _said(expert)
        fields = tuple(_phrases(said[name], name=name in _GIVEN) for name in FIELDS)
        names = dict.fromkeys(
            (squashed(text, least), name)
            for name in NAMES
            for text in said[name]
            if name != "tag" or text.casefold() not in SORTS
        )
        return cls(fields, tuple((key, name) for key, name in names if key))


def _said(expert: Expert) -> dict[str, list[str]]:
    calls = [word for group in expert.triggers for text in group for word in text.split(",")]
    calls += [word for s in expert.skills if s.trigger for word in s.trigger.split(",")]
    pieces = [part.strip() for part in _PARTS.split(expert.title)]
    names = [expert.title, *pieces, *(s.name for s in expert.skills[:64])]
    known = {text.strip().casefold() for text in (*calls, *names)}
    others = [a for s in expert.skills[:64] for a in s.aliases if a.casefold() not in known]
    return {
        "trigger": _each_once(calls),
        "title": _each_once(names),
        "file": _each_once([*expert.file_names, PurePosixPath(expert.ref.file).stem]),
        "tag": _each_once([*expert.tags, *others]),
        "seen": [tag for tag, _ in expert.tag_counts],
        "about": [expert.description or expert.text],
    }


def _each_once(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))[:_MOST_PHRASES]


def _phrases(texts: list[str], *, name: bool) -> tuple[tuple[str, ...], ...]:
    found = dict.fromkeys(terms(text, name=name) for text in texts)
    return tuple(phrase for phrase in found if phrase)
