"""A folder of experts and recipes as people made them: ``experts.jsonl`` and ``recipes*.jsonl``, read and bounded.

Recipes say what one person typed and which experts they took. Records are strangers' words: data, cleaned as a card is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import UserError
from ...graph.experts.expert import MAX_DESCRIPTION, Expert, SourceRef
from ...graph.experts.registration import skill_text
from ...graph.experts.said import together
from ...graph.experts.sidecars.civitai_info import of_version
from ...graph.experts.skills import made_skills
from ...graph.experts.words.plain import clean
from ...graph.experts.words.triggers import groups

FAMILY = "sd15"
"""What is not known to be made for another base counts as made for the recipes' one."""
_MAX_LINE = 400_000
_QUALITY = re.compile(
    r"\b(?:detail(?:s|ed)? ?(?:tweaker|enhancer|slider)|detail tweake|enhancer|noise ?offset|epi_noiseoffset|"
    r"saturation tweake|add more details)", re.I,
)  # fmt: skip
_OTHER_BASE = re.compile(
    r"xl|pony|illustrious|noob|flux|sd[ _]?v?[23]|stable diffusion [23]|wan|qwen|z-?image|hunyuan|kolors|pixart|chroma"
    r"|lumina|cascade|video|svd|ltx|auraflow|kontext|playground|cogvideo|mochi|hidream", re.I,
)  # fmt: skip
"""Bases of other architectures, as pages name them."""
_VERSION = re.compile(r"\s*v?\.?[\d.]+\w?\s*", re.I)


class _Record(BaseModel):
    """A line of a file; fields that are not listed are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class File(_Record):
    """A file of a version."""

    name: str = ""


class Version(_Record):
    """One version of an expert."""

    name: str = ""
    description: str | None = ""
    trainedWords: tuple[str, ...] = ()
    files: tuple[File, ...] = ()


class Page(_Record):
    """An expert as its page shows it. ``facet_human``: its uploader's category; ``facet_label``: a careful reader's."""

    id: str = Field(min_length=1, max_length=200)
    name: str
    type: str = "LORA"
    description: str | None = ""
    baseModel: str | None = ""
    tags: tuple[str, ...] = ()
    trainedWords: tuple[str, ...] = ()
    versions: tuple[Version, ...] = ()
    files: tuple[Any, ...] = ()
    example_prompts: tuple[str, ...] = ()
    stats: dict[str, Any] | None = None
    category_human: str | None = None
    facet_human: str | None = None
    facet_label: str | None = None

    @property
    def quality(self) -> bool:
        """Whether it betters any picture, so that nothing in a prompt calls for it."""
        facets = {self.facet_human, self.facet_label}
        return bool(facets & {"quality", "utility"}) or _QUALITY.search(self.name) is not None

    @property
    def calls(self) -> tuple[str, ...]:
        """Its trigger words, of all versions."""
        return tuple(dict.fromkeys((*self.trainedWords, *(w for v in self.versions for w in v.trainedWords))))


class Used(_Record):
    """An expert that a recipe takes; ``expert`` is the id of a page where there is one."""

    expert: str | None = None
    weight: float | None = None


class Recipe(_Record):
    """What one person typed and took. ``prompt_no_triggers``: the same without the words that give the answer away."""

    id: str
    prompt: str
    prompt_no_triggers: str | None = None
    loras: tuple[Used, ...] = ()
    page_expert: str | None = None


_R = TypeVar("_R", bound=_Record)


@dataclass(frozen=True)
class Case:
    """A recipe with the pages that are to be found; ``quality``: those that nothing in a prompt calls for."""

    recipe: Recipe
    wanted: tuple[str, ...]
    quality: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether the person took more than one."""
        return len(self.recipe.loras) > 1

    def query(self, form: str) -> str:
        """The prompt in one of `FORMS`; as typed where nothing gave the answer away."""
        return self.recipe.prompt if form == "prompt" else self.recipe.prompt_no_triggers or self.recipe.prompt


FORMS = ("prompt", "prompt_no_triggers")


@dataclass(frozen=True)
class Wild:
    """A folder, read."""

    pages: tuple[Page, ...]
    recipes: tuple[Recipe, ...]

    @classmethod
    def read(cls, folder: Path) -> Wild:
        """Read ``experts.jsonl``, ``recipes*.jsonl`` and, where they are, ``labels*.jsonl`` (facets by id).

        Raises:
            UserError: no such folder or file, or a line that is no record.
        """
        recipes = sorted(folder.glob("recipes*.jsonl"))
        if not (folder / "experts.jsonl").is_file() or not recipes:
            raise UserError(f"{folder} holds no experts.jsonl beside recipes*.jsonl. Name another with --data.")
        pages = {page.id: page for page in _lines(folder / "experts.jsonl", Page)}
        for path in sorted(folder.glob("labels*.jsonl")):
            for label in _lines(path, _Label):
                if label.id in pages:
                    said = {k: v for k, v in label.model_dump(exclude={"id"}).items() if v}
                    pages[label.id] = pages[label.id].model_copy(update=said)
        return cls(tuple(pages.values()), tuple(r for path in recipes for r in _lines(path, Recipe)))

    @cached_property
    def pool(self) -> tuple[Page, ...]:
        """The pages that are searched: LoRAs that are not known to be made for another base than the recipes'."""
        return tuple(p for p in self.pages if p.type.upper() in ("LORA", "LOCON", "LYCORIS", "DORA") and _fits(p))

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Recipes of which at least one expert is in the pool."""
        pool = {p.id: p for p in self.pool}
        made = []
        for recipe in self.recipes:
            known = [pool[i] for i in dict.fromkeys(u.expert for u in recipe.loras) if i in pool]
            wanted = tuple(p.id for p in known if not p.quality)
            if known:
                made.append(Case(recipe, wanted, tuple(p.id for p in known if p.quality)))
        return tuple(made)

    @cached_property
    def tested(self) -> frozenset[str]:
        """Pages from which a recipe comes or which one takes: their example prompts are kept from the search."""
        pages = {r.page_expert for r in self.recipes if r.page_expert}
        return frozenset(pages | {u.expert for r in self.recipes for u in r.loras if u.expert})

    def experts(self) -> list[Expert]:
        """The pool as nodes of the graph."""
        return [_node(page, FAMILY, examples=page.id not in self.tested) for page in self.pool]

    def others(self) -> list[Expert]:
        """The pages that are not searched and have example prompts: they tell which words are common in prompts."""
        pool = {page.id for page in self.pool}
        left = (p for p in self.pages if p.id not in pool | self.tested and p.example_prompts)
        return [_node(page, "other", examples=True) for page in left]

    @property
    def digest(self) -> str:
        """Changes with anything that the graph of the pool is made of."""
        text = "".join(e.model_dump_json() for e in (*self.experts(), *self.others()))
        return hashlib.sha256(text.encode()).hexdigest()


class _Label(_Record):
    id: str
    category_human: str | None = None
    facet_human: str | None = None
    facet_label: str | None = None


def _lines(path: Path, model: type[_R]) -> Iterator[_R]:
    number = 0
    try:
        with path.open(encoding="utf-8") as handle:
            for line in handle:
                number += 1
                if line.strip():
                    yield model.model_validate(json.loads(line[:_MAX_LINE]))
    except (OSError, ValueError, ValidationError) as error:
        why = str(error).splitlines()[0][:160]
        raise UserError(f"{path} cannot be read at line {number}: {why}") from error


def _fits(page: Page) -> bool:
    return _OTHER_BASE.search(page.baseModel or "") is None


def _node(page: Page, family: str, *, examples: bool) -> Expert:
    """A page as the graph's own node, with what registration reads of a sidecar that says the same."""
    model = {"name": page.name, "description": page.description, "tags": list(page.tags)}
    versions = [
        {"name": v.name, "description": v.description, "trainedWords": list(v.trainedWords), "model": model,
         "files": [f.model_dump() for f in v.files]}
        for v in page.versions
    ]  # fmt: skip
    said = together([of_version(v, by=page.id) for v in versions or [{"model": model}]])
    files = [clean(f.name.rpartition(".")[0] or f.name, 200) for v in page.versions for f in v.files]
    titles = [clean(v.name, 60) for v in page.versions if not _VERSION.fullmatch(v.name)]
    told = clean(" ".join((page.description or "", *(v.description or "" for v in page.versions))), MAX_DESCRIPTION)
    triggers = groups(page.calls)
    downloads = (page.stats or {}).get("downloadCount", 0)
    title = clean(page.name, 120)
    skills = made_skills(title, triggers, tags=said.tags, description=told)
    return Expert(
        id=page.id,
        title=title,
        ref=SourceRef(source="wild", repo=page.id, revision="1", file=f"{(files or ['weights'])[0]}.safetensors"),
        sha256=hashlib.sha256(page.id.encode()).hexdigest(),
        base_family=family,
        kind="lora",
        size_bytes=0,
        tags=said.tags,
        skills=skills,
        text=skill_text(title, ", ".join(said.tags[:6]), skills),
        description=told,
        file_names=tuple(dict.fromkeys(n for n in (*files, *titles) if n))[:16],
        triggers=triggers,
        examples=tuple(clean(p, 600) for p in page.example_prompts[:16]) if examples else (),
        weight=said.weight,
        popularity=downloads if isinstance(downloads, int) and downloads > 0 else 0,
    )


def facet_of_page(page: Page) -> str | None:
    """The facet that people gave a page: a careful reader's label, else the uploader's category."""
    named = page.facet_label or page.facet_human
    return None if named in (None, "unknown") else named


def without_category(page: Page) -> tuple[str, ...]:
    """A page's tags without the word of its category, which would give the facet away."""
    given = {page.category_human, page.facet_human}
    return tuple(tag for tag in page.tags if tag.casefold() not in given)


def labelled(pages: Sequence[Page]) -> list[Page]:
    """The pages that people gave a facet."""
    return [page for page in pages if facet_of_page(page) is not None]
