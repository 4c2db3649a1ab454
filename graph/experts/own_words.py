"""What a user says of an expert themselves. It stands above everything that is found, and a rescan leaves it alone."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .expert import MAX_WEIGHT, Expert, Facet, Frozen, Skill, Text
from .skills import made_skills
from .words.triggers import Groups


class OwnWords(Frozen):
    """One user's words; a field that is None is left as it was found.

    Attributes:
        triggers: groups of words that call it.
        facet: what it is about.
        weight: the weight to use it with. negative: what goes into the negative prompt.
        off: whether it is left out of every choice.
    """

    triggers: Groups | None = None
    facet: Facet | None = None
    weight: float | None = Field(default=None, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    negative: Text | None = None
    off: bool | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return self == OwnWords()

    def and_then(self, other: OwnWords) -> OwnWords:
        """With what is said later in place of what was said before."""
        return self.model_copy(update=other.model_dump(exclude_none=True))


class OwnRecord(Frozen):
    """One user's words of one expert, and the node as it is without them."""

    expert_id: str
    words: OwnWords
    found: Expert


def applied(words: OwnWords, found: Expert) -> Expert:
    """The node as the user wants it."""
    changes: dict[str, Any] = words.model_dump(exclude_none=True, exclude={"facet", "triggers"})
    if words.triggers is not None:
        changes["triggers"] = words.triggers
    if words.triggers is not None or words.facet is not None:
        changes["skills"] = _skills(words, found)
    return found.model_copy(update=changes)


def _skills(words: OwnWords, found: Expert) -> tuple[Skill, ...]:
    """The skills with the user's facet and triggers: in place of a single one, before several."""
    if words.triggers is None:
        return tuple(skill.model_copy(update={"facet": words.facet}) for skill in found.skills)
    made = made_skills(
        found.title,
        words.triggers,
        tags=found.tags,
        description=found.description,
        facet=words.facet or (found.skills[0].facet if found.skills else None),
    )
    if len(found.skills) > 1:
        return (*made, *(skill for skill in found.skills if skill.trigger not in {m.trigger for m in made}))
    kept = found.skills[0].aliases if found.skills else ()
    return tuple(skill.model_copy(update={"aliases": tuple(dict.fromkeys((*skill.aliases, *kept)))}) for skill in made)
