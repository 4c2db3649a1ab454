"""What one witness says of one weight file, and several witnesses put together by how far each is trusted.

A witness is a file beside it (`sidecars`), a card, the file's own header, its name. Trust, highest first: what the
user wrote in a program that shows their files (A1111, Lora-Manager, SwarmUI, Stability Matrix, notes), what the
author's page said (civitai.info), the repository's card, the header's ``modelspec``, the trainer's ``ss_…``, the
file's name. What the user tells DiffGraph itself (`own_words`) stands above all of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from .expert import MAX_TAG_COUNTS, Facet, Frozen, Skill
from .words.triggers import Groups, same_words

USER, PAGE, CARD, SPEC, TRAINER, NAME = 90, 60, 50, 40, 30, 10
"""Trust in the user's programs, the author's page, the card, ``modelspec``, the trainer, the name of the file."""


class Said(Frozen):
    """One witness's words, cleaned and bounded; a field that it leaves out is empty or None.

    Attributes:
        by: the witness, as a person would name it.
        trust: the higher one's word counts where two speak of the same.
        file_names: what the file is called, without suffix. facet: where the witness names one outright.
        skills: what a card lists one by one. sha256, autov3: what the file should have.
        off: whether a program hides it. Others as in `expert.Expert`.
    """

    by: str
    trust: int
    title: str = ""
    description: str = ""
    triggers: Groups = ()
    tags: tuple[str, ...] = ()
    tag_counts: tuple[tuple[str, int], ...] = ()
    file_names: tuple[str, ...] = ()
    facet: Facet | None = None
    skills: tuple[Skill, ...] = ()
    weight: float | None = None
    clip_weight: float | None = None
    weight_min: float | None = None
    weight_max: float | None = None
    negative: str = ""
    examples: tuple[str, ...] = ()
    samples: int = Field(default=0, ge=0)
    popularity: int = Field(default=0, ge=0)
    base_model: str = ""
    licence: str = ""
    created: str = ""
    nsfw: bool | None = None
    off: bool | None = None
    origin: str = ""
    preview: str = ""
    sha256: str = ""
    autov3: str = ""
    warnings: tuple[str, ...] = ()


_ALL_TOGETHER = {"tags": 64, "file_names": 16, "examples": 16, "warnings": 8}
"""Fields in which every witness's words stand one after another, and how many at most."""
_WEIGHTS = ("weight", "clip_weight", "weight_min", "weight_max")


def together(witnesses: Iterable[Said]) -> Said:
    """What all of them say: of each field the word of the most trusted one that fills it.

    Weights are one witness's all four. One who lists the same triggers in groups goes before one who strings them
    together, whom a program wrote off the other.
    """
    order = sorted(witnesses, key=lambda one: -one.trust)
    found: dict[str, Any] = {
        "by": ", ".join(one.by for one in order),
        "trust": max((o.trust for o in order), default=0),
    }
    for name in Said.model_fields:
        if name in found or name in _WEIGHTS:
            continue
        values = [value for one in order if (value := getattr(one, name)) not in ("", (), None, 0)]
        if name in _ALL_TOGETHER:
            found[name] = _each_once(values, _ALL_TOGETHER[name])
        elif name == "triggers":
            found[name] = _triggers(values)
        elif values:
            found[name] = values[0]
    teller = next((one for one in order if one.weight is not None), None)
    if teller is not None:
        found |= {name: getattr(teller, name) for name in _WEIGHTS}
    return Said(**found)


def _each_once(values: Sequence[tuple[str, ...]], most: int) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for text in (text for value in values for text in value):
        first.setdefault(text.casefold(), text)
    return tuple(first.values())[:most]


def _triggers(values: Sequence[Groups]) -> Groups:
    if not values:
        return ()
    return max((one for one in values if same_words(one, values[0])), key=len)


def most_counted(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """The commonest tags, commonest first, names in order among equals."""
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_TAG_COUNTS])
