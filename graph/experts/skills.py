"""What an expert is said to do, where nobody lists it: skills made of its title, triggers and tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .expert import Facet, Skill
from .words.facets import facet_of
from .words.plain import MAX_TEXT, clean
from .words.triggers import Groups, calls, flat
from .words.unusual import is_unusual

MAX_ALIASES = 24
_MADE_ALIASES = 5
"""Each alias of a look is embedded; more than these say nothing that its tags do not say."""
_SUFFIXES: tuple[tuple[str, Facet], ...] = ((" style", "style"), (" background", "background"))
_ENDINGS = tuple(suffix for suffix, _ in _SUFFIXES)
_VERSION = re.compile(
    r"[\[(【{][^\[\](){}【】]{0,80}[\])】}]|\b(?:v|ver|version)[ .]?\d[\w.]{0,8}"
    r"|\b(?:sdxl|sd ?1\.?5|sd ?xl|pdxl|flux(?:\.?1)?|dev|illustrious|noobai|pony|lora|locon|lycoris|loha"
    r"|dora|model|embedding|textual inversion|checkpoint)\b",
    re.I,
)
_FOR_BASE = re.compile(
    r"\s(?:for|on)\s(?:stable[ -]?diffusion|sd[ -]?\d|sdxl|sd[ -]?xl|flux|qwen|z-?image|chroma|auraflow|lumina|sana"
    r"|hidream|kolors|pony|illustrious|noobai)[\w. -]{0,60}$",
    re.I,
)
"""The base that a title names at its end ("Axolotl for stable-diffusion-xl-base-1.0")."""
_SPLIT = re.compile(r"\s[-–—/|:~]\s|[|/:：]|\s{2,}")


def listed_skill(text: str, facet: Facet, aliases: Sequence[str] = ()) -> Skill | None:
    """One skill called by ``text``; "… style" and "… background" say their facet themselves. None if it names
    nothing.
    """
    trigger = clean(text)
    folded = trigger.casefold()
    name = trigger
    for suffix, own in _SUFFIXES:
        if folded.endswith(suffix):
            facet, name = own, trigger[: -len(suffix)].strip()
    if not name:
        return None
    kept = tuple(a for a in dict.fromkeys(aliases) if a and a.casefold() not in (folded, name.casefold()))
    return Skill(facet=facet, name=name, trigger=trigger, aliases=kept[:MAX_ALIASES])


def unique(skills: Sequence[Skill | None]) -> tuple[Skill, ...]:
    """Without what is no skill, and later ones that repeat one."""
    first: dict[tuple[Facet, str], Skill] = {}
    for skill in skills:
        if skill is not None:
            first.setdefault((skill.facet, skill.name.casefold()), skill)
    return tuple(first.values())


def made_skills(
    title: str,
    triggers: Groups,
    *,
    tags: Sequence[str] = (),
    description: str = "",
    seen: Sequence[str] = (),
    facet: Facet | None = None,
) -> tuple[Skill, ...]:
    """The skills of an expert whose card lists none: one, or as many as its first group names facets of.

    With triggers a skill is called by the first group; without any it has an empty trigger and is found by its title,
    its tags and what its training pictures showed.

    Args:
        title: as its page or file says.
        triggers: its groups; any one calls it.
        tags, description, seen: what tells the facet and gives it other names.
        facet: where somebody names it.
    """
    name = short_title(title)
    words = flat(triggers)
    facet = facet or facet_of(title, tags, words, description, seen)
    if not triggers:
        aliases = [a for a in (*_tags_as_names(tags), *seen[:3]) if not a.isdigit()][:_MADE_ALIASES]
        return (Skill(facet=facet, name=name, trigger="", aliases=tuple(aliases)),) if name else ()
    first = calls(triggers[0])
    looks = [word for word in first if word.casefold().endswith(_ENDINGS)]
    things = [word for word in first if word not in looks]
    others = [word for word in words if word not in first]
    made: list[Skill | None] = []
    if things:
        own = name if name and is_unusual(things[0]) else things[0]
        whole = ", ".join(things)
        trigger = whole if len(whole) <= MAX_TEXT else things[0]
        aliases = [a for a in (*things, name, *others) if a and a.casefold() != own.casefold()][:_MADE_ALIASES]
        made.append(Skill(facet=facet, name=own, trigger=trigger, aliases=tuple(dict.fromkeys(aliases))))
    made += [listed_skill(look, facet, [] if things else [name, *others][:_MADE_ALIASES]) for look in looks]
    return unique(made)[:4]


def short_title(title: str) -> str:
    """A title without versions, bases and kinds: ``Pixel Art XL v1.1 [SDXL] | LoRA`` -> ``Pixel Art XL``."""
    bare = _VERSION.sub(" ", _FOR_BASE.sub("", title.replace("_", " ")))
    first = next((part for part in (" ".join(p.split()) for p in _SPLIT.split(bare)) if len(part) > 1), "")
    return clean(first.strip(" -–—.,:;/|~") or title)


def _tags_as_names(tags: Sequence[str]) -> list[str]:
    plain = (
        "lora",
        "style",
        "character",
        "concept",
        "base",
        "text-to-image",
        "diffusers",
        "template:sd-lora",
        "subject",
    )
    return [tag for tag in tags if tag.casefold() not in plain and ":" not in tag][:_MADE_ALIASES]
