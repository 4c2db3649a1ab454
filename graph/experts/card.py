"""Read a model card: YAML front matter and Markdown, written by strangers, hence bounded, and data only.

A card never becomes instructions: what comes out are short, printable strings in known fields.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import yaml

from ...errors import ExpertError
from .expert import Facet, Skill

MAX_CARD_BYTES = 1_000_000
MAX_FRONT_MATTER = 64_000
MAX_DEPTH = 32
MAX_SKILLS = 4_000
MAX_ALIASES = 24
MAX_TEXT = 80
MAX_SUMMARY = 600
_SKILL = re.compile(r"^\s{0,3}[-*+]\s+(.+?)\s*$")
_ALSO = re.compile(r"\s*\(\s*also\s*:\s*(.*?)\s*\)?\s*$", re.IGNORECASE)
_FACET_WORDS: tuple[tuple[str, Facet], ...] = (
    ("style", "style"), ("background", "background"), ("action", "action"), ("pose", "pose"),
    ("lighting", "lighting"), ("quality", "quality"), ("subject", "subject"), ("character", "character"),
    ("concept", "concept"),
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """The known fields of a card; everything else in it is dropped.

    Attributes:
        title: first heading, or empty.
        summary: first paragraph, at most 600 characters.
        base_models: ids of the bases it says it belongs to.
        licence: as written, lower case; ``unknown`` if it says none.
        tags: at most 64.
        instance_prompt: the trigger that the card names for the whole file, or empty.
        widgets: sample prompts.
        skills: the bullets below ``## Skills``, or what can be told from instance prompt and tags.
        created: an ISO date, or empty.
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


class _PlainLoader(yaml.BaseLoader):
    """safe_load's subset of YAML, reduced further: scalars stay strings, and no aliases (they can grow without
    bound).
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not read", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def clean(text: object, limit: int = MAX_TEXT) -> str:
    """One line of printable text, blanks collapsed, cut at ``limit`` characters; anything but a string becomes
    empty.
    """
    if not isinstance(text, str):
        return ""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: limit * 8])
    return " ".join(kept.split())[:limit].strip()


def parse_card(text: str, name: str = "card") -> Card:
    """Parse a whole card.

    Raises:
        ExpertError: too large, or front matter that is no plain YAML mapping.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_CARD_BYTES:
        raise ExpertError(f"The card of {name} is larger than {MAX_CARD_BYTES} bytes and is not read.", path=name)
    front, body = _split(text.removeprefix("\ufeff").replace("\r\n", "\n"), name)
    tags = tuple(dict.fromkeys(t for t in (clean(x) for x in _listed(front.get("tags"))) if t))[:64]
    title, summary, bullets = _read_body(body)
    instance = clean(front.get("instance_prompt"), 200)
    facet = _facet_of_tags(tags)
    skills = tuple(_unique([_skill(b, facet) for b in bullets]))
    if not skills and instance:
        skills = tuple(_unique([_skill(instance, facet)]))
    widgets = [w.get("text") for w in _listed(front.get("widget")) if isinstance(w, dict)]
    return Card(
        title=title or clean(front.get("title")),
        summary=summary,
        base_models=tuple(b for b in (clean(x, 200) for x in _listed(front.get("base_model"))) if b)[:8],
        licence=_licence(front),
        tags=tags,
        instance_prompt=instance,
        widgets=tuple(t for t in (clean(x, 200) for x in widgets) if t)[:32],
        skills=skills,
        created=_date(front.get("date") or front.get("created")),
    )


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


def _listed(value: object) -> list[object]:
    if isinstance(value, list):
        return value[:256]
    return [] if value in (None, "") else [value]


def _read_body(body: str) -> tuple[str, str, list[str]]:
    title = summary = section = ""
    bullets: list[str] = []
    for line in body.splitlines():
        if line.startswith("#"):
            heading = clean(line.lstrip("#"))
            title = title or (heading if line.startswith("# ") else "")
            section = heading.casefold()
        elif section == "skills" and (found := _SKILL.match(line[:2000])):
            if len(bullets) < MAX_SKILLS:
                bullets.append(found[1])
        elif not summary and section != "skills":
            summary = clean(line, MAX_SUMMARY)
    return title, summary, bullets


def _facet_of_tags(tags: tuple[str, ...]) -> Facet:
    """The facet that the tags name; with several or none, subject."""
    named = {facet for tag in tags for word, facet in _FACET_WORDS if tag.casefold() == word}
    return named.pop() if len(named) == 1 else "subject"


def _skill(bullet: str, facet: Facet) -> Skill | None:
    also = _ALSO.search(bullet)
    trigger = clean(bullet[: also.start()] if also else bullet)
    aliases = [clean(a) for a in also[1].split(",")] if also else []
    folded = trigger.casefold()
    name = trigger
    for suffix, suffix_facet in ((" style", "style"), (" background", "background")):
        if folded.endswith(suffix):
            facet = "style" if suffix_facet == "style" else "background"
            name = trigger[: -len(suffix)].strip()
    if not name:
        return None
    kept = tuple(a for a in dict.fromkeys(aliases) if a and a.casefold() not in (folded, name.casefold()))
    return Skill(facet=facet, name=name, trigger=trigger, aliases=kept[:MAX_ALIASES])


def _unique(skills: list[Skill | None]) -> list[Skill]:
    """Drop what is no skill, and later bullets that repeat one."""
    first: dict[tuple[Facet, str], Skill] = {}
    for skill in skills:
        if skill is not None:
            first.setdefault((skill.facet, skill.name.casefold()), skill)
    return list(first.values())


def _licence(front: dict[str, object]) -> str:
    licence = clean(front.get("license")).casefold()
    if licence == "other":
        licence = clean(front.get("license_name")).casefold() or "other"
    return licence or "unknown"


def _date(value: object) -> str:
    found = re.match(r"\d{4}-\d{2}-\d{2}", value) if isinstance(value, str) else None
    return found[0] if found else ""
