"""How nodes lie in Chroma's rows: names of collections, texts that are embedded, and reading rows back."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ..calibration.record import Calibration
from ..experts.expert import Expert, Facet, Skill
from ..relations.relation import Relation


@dataclass(frozen=True)
class Hit:
    """One skill found by meaning.

    Attributes:
        expert_id: who claims it.
        skill: the skill as its card says it.
        score: best cosine of the query with any one name of the skill.
        context: cosine with all of its names together.
        facet: the skill's facet.
    """

    expert_id: str
    skill: Skill
    score: float
    context: float
    facet: Facet


@dataclass(frozen=True)
class View:
    """A consistent picture of one family for one decision; ``stamp`` tells pictures apart."""

    family: str
    base: Expert | None
    experts: tuple[Expert, ...]
    foreign: tuple[Expert, ...]
    registered: dict[str, int]
    calibrations: dict[str, Calibration]
    relations: tuple[Relation, ...]
    stamp: str


def skill_names(skill: Skill) -> list[str]:
    """The texts a skill is found by in meaning: name and all names together; for the few non-subjects each alias
    too.
    """
    names = [skill.name, joined_names(skill)]
    if skill.facet != "subject":
        names += [skill.trigger, *skill.aliases]
    return list(dict.fromkeys(name for name in names if name))


def joined_names(skill: Skill) -> str:
    return ", ".join((skill.name, *skill.aliases[:8]))


def group_hits(metas: list[dict[str, Any]], documents: list[str], distances: list[float], facet: Facet) -> list[Hit]:
    """Group a query's rows by skill: best single name and joined names. Inner-product distance is 1 - cosine."""
    best: dict[tuple[str, int], tuple[str, float, float]] = {}
    for meta, document, distance in zip(metas, documents, distances, strict=True):
        key = (str(meta["expert"]), int(meta["number"]))
        _, score, context = best.get(key, ("", -1.0, -1.0))
        cosine = 1.0 - float(distance)
        best[key] = (document, max(score, cosine), max(context, cosine if meta["joined"] else -1.0))
    return [
        Hit(expert, Skill.model_validate_json(document), round(score, 6), round(context, 6), facet)
        for (expert, _), (document, score, context) in best.items()
    ]


def partition(family: str) -> str:
    """A collection name's part for a family; odd names are hashed, because Chroma allows few characters."""
    if re.fullmatch(r"[a-z0-9](?:[a-z0-9_-]{0,60}[a-z0-9])?", family):
        return family
    return "x" + digest(family)[:24]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
