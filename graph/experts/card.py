"""Read a model card: YAML front matter and Markdown, written by strangers, hence bounded, and data only.

A card never becomes instructions: what comes out are short, printable strings in known fields. What it costs is linear
in its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from ...errors import ExpertError
from .expert import Facet, Skill
from .said import CARD, Said
from .skills import MAX_ALIASES, listed_skill, made_skills, unique
from .words.facets import named_facets
from .words.licences import one_licence
from .words.plain import MAX_TEXT, clean, is_nothing, listed, mapping, plain, texts, without_markup
from .words.triggers import Groups, groups, in_text
from .words.unusual import in_prompts
from .words.weights import recommended

__all__ = ["MAX_ALIASES", "MAX_CARD_BYTES", "MAX_TEXT", "Card", "clean", "parse_card", "said_by"]
MAX_CARD_BYTES = 1_000_000
MAX_FRONT_MATTER = 64_000
MAX_DEPTH = 32
MAX_ANCHORS = 256
MAX_SKILLS = 4_000
MAX_SUMMARY = 600
_MAX_LINE = 2_000
_SKILL = re.compile(r"^\s{0,3}[-*+]\s")
_ALSO = re.compile(r"\(\s{0,8}also\s{0,8}:", re.IGNORECASE)
_NSFW = frozenset(("not-for-all-audiences", "nsfw", "not for all audiences"))


@dataclass(frozen=True)
class Card:
    """The known fields of a card; everything else in it is dropped.

    Attributes:
        title: first heading, or empty.
        summary: first paragraph, at most 600 characters.
        base_models: ids of the bases it says it belongs to.
        licence: lower case, as `words.licences` calls it; ``unknown`` if it says none.
        tags: at most 64.
        instance_prompt: the trigger that the card names for the whole file, or empty.
        widgets: sample prompts.
        skills: the bullets below ``## Skills``, or what can be told from the triggers.
        created: an ISO date, or empty.
        triggers: groups of words that call it, from its instance prompt, its text or its sample prompts.
        declared: whether its skills are listed one by one.
        nsfw: whether it says that it is not for all audiences.
        body: what it says in Markdown; for more than a summary.
    """

    title: str = ""
    summary: str = ""
    base_models: tuple[str, ...] = ()
    licence: str = "unknown"
    tags: tuple[str, ...] = ()
    instance_prompt: str = ""
    widgets: tuple[str, ...] = ()
    skills: tuple[Skill, ...] = ()
    created: str = ""
    triggers: Groups = ()
    declared: bool = False
    nsfw: bool | None = None
    body: str = ""


class _PlainLoader(yaml.BaseLoader):
    """safe_load's subset of YAML, reduced further: scalars stay strings, and few anchors are followed (an alias is the
    same node again, so it costs nothing, but each must be looked up).
    """

    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ANCHORS:
                raise yaml.constructor.ConstructorError(None, None, "too many aliases", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def parse_card(text: str, name: str = "card") -> Card:
    """Parse a whole card.

    Raises:
        ExpertError: too large, or front matter that is no plain YAML mapping.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_CARD_BYTES:
        raise ExpertError(f"The card of {name} is larger than {MAX_CARD_BYTES} bytes and is not read.", path=name)
    front, body = _split(text.removeprefix("\ufeff").replace("\r\n", "\n"), name)
    tags = tuple(dict.fromkeys(t for t in (clean(x) for x in listed(front.get("tags"))[:256]) if t))[:64]
    title, summary, bullets = _read_body(body)
    title = title or clean(front.get("title"))
    instance = clean(front.get("instance_prompt"), 200)
    instance = "" if is_nothing(instance) else instance
    prompts = [mapping(widget).get("text") for widget in listed(front.get("widget"))[:256]]
    widgets = tuple(t for t in (clean(prompt, 200) for prompt in prompts) if t)[:32]
    triggers = _triggers(instance, body, widgets)
    named = named_facets(tags)
    skills = unique([_skill(b, named[0] if len(named) == 1 else "subject") for b in bullets])
    made = made_skills(title, triggers, tags=tags, description=summary) if triggers else ()
    return Card(
        title=title,
        summary=summary,
        base_models=tuple(b for b in (clean(x, 200) for x in listed(front.get("base_model"))) if b)[:8],
        licence=one_licence(front.get("license"), front.get("license_name")),
        tags=tags,
        instance_prompt=instance,
        widgets=widgets,
        skills=skills or made,
        created=_date(front.get("date") or front.get("created")),
        triggers=triggers,
        declared=bool(skills),
        nsfw=True if _NSFW.intersection(tag.casefold() for tag in tags) else None,
        body=body,
    )


def said_by(card: Card, *, by: str = "README.md") -> Said:
    """A card as one witness among others."""
    about = plain(card.body, 1_900)
    advised = recommended(about)
    return Said(
        by=by,
        trust=CARD,
        title=card.title,
        description=about if len(about) > len(card.summary) else card.summary,
        triggers=card.triggers,
        tags=card.tags,
        skills=card.skills if card.declared else (),
        weight=advised.weight if advised else None,
        weight_min=advised.low if advised else None,
        weight_max=advised.high if advised else None,
        examples=tuple(w for w in texts(list(card.widgets), 300, 16) if w),
        samples=len(card.widgets),
        base_model=card.base_models[0] if card.base_models else "",
        licence="" if card.licence == "unknown" else card.licence,
        created=card.created,
        nsfw=card.nsfw,
    )


def _triggers(instance: str, body: str, widgets: tuple[str, ...]) -> Groups:
    """The instance prompt, else what the text names, else what its sample prompts have in common."""
    return groups([instance]) or in_text(_prose(body)) or in_prompts(widgets)


def _prose(body: str) -> str:
    """The text without blocks of code and without the list of skills."""
    kept: list[str] = []
    fenced = skills = False
    for line in body[:MAX_CARD_BYTES].splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif line.startswith("#"):
            skills = clean(line.lstrip("#")).casefold() == "skills"
        if not fenced and not skills:
            kept.append(line)
    return without_markup("\n".join(kept))


def _split(text: str, name: str) -> tuple[dict[str, object], str]:
    if not text.startswith("---\n"):
        return {}, text
    front, closing, body = text[4:].partition("\n---")
    if not closing:
        raise ExpertError(f"The card of {name} opens front matter with --- and never closes it.", path=name)
    if len(front) > MAX_FRONT_MATTER:
        raise ExpertError(f"The card of {name} has more than {MAX_FRONT_MATTER} characters of front matter.", path=name)
    if _too_deep(front):
        raise ExpertError(f"The front matter of {name}'s card is nested too deeply.", path=name)
    try:
        meta = yaml.load(front, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ExpertError(f"The front matter of {name}'s card is not plain YAML: {why}", path=name) from error
    if meta in (None, ""):
        return {}, body
    if not isinstance(meta, dict):
        raise ExpertError(f"The front matter of {name}'s card must be a mapping of names to values.", path=name)
    return {k: v for k, v in meta.items() if isinstance(k, str)}, body


def _too_deep(front: str) -> bool:
    """Whether brackets or dashes nest beyond any honest card; parsing them would take seconds."""
    depth = 0
    for char in front:
        depth += (char in "[{") - (char in "]}")
        if depth > MAX_DEPTH:
            return True
    return "- " * MAX_DEPTH in front


def _read_body(body: str) -> tuple[str, str, list[str]]:
    title = summary = section = ""
    bullets: list[str] = []
    for line in body.splitlines():
        if line.startswith("#"):
            heading = clean(line.lstrip("#"))
            title = title or (heading if line.startswith("# ") else "")
            section = heading.casefold()
        elif section == "skills" and _SKILL.match(line):
            if len(bullets) < MAX_SKILLS:
                bullets.append(line[:_MAX_LINE].strip()[1:].strip())
        elif not summary and section != "skills":
            summary = clean(line, MAX_SUMMARY)
    return title, summary, bullets


def _skill(bullet: str, facet: Facet) -> Skill | None:
    """``octopus (also: tentacles, sea creature)``"""
    also = _ALSO.search(bullet)
    name, others = (bullet[: also.start()], bullet[also.end() :]) if also else (bullet, "")
    return listed_skill(name, facet, _aliases(others))


def _aliases(others: str) -> list[str]:
    listed_ones: Iterable[str] = others.rstrip().removesuffix(")").split(",")
    return [clean(one) for one in listed_ones]


def _date(value: object) -> str:
    found = re.match(r"\d{4}-\d{2}-\d{2}", value) if isinstance(value, str) else None
    return found[0] if found else ""
