"""Suites as data: one YAML file each in ``evals/suites/`` (a leading underscore: shared data, no suite).

An image suite lists prompts with what an image must show and which experts know how (``experts``, the oracle choice),
as ``items`` or as ``grids`` of subjects x styles x backgrounds. A selection suite lists prompts with the experts to
choose.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...errors import UserError
from ...scoring.request import Wanted

FOLDER = Path(__file__).parent
FACETS = ("subject", "style", "background")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Frozen):
    """One prompt of an image suite: ``prompt`` in a user's words, ``canonical`` in the base's own grammar."""

    id: str
    group: str
    prompt: str
    canonical: str
    subject: str | None = None
    style: str | None = None
    background: str | None = None
    experts: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[Wanted]:
        """What an image must show, in the order subject, style, background."""
        asked = ((f, getattr(self, f)) for f in FACETS)
        return [Wanted(facet=f, text=t) for f, t in asked if t is not None]


class Grid(_Frozen):
    """All combinations of the lists; an empty list leaves the facet out of the prompts."""

    group: str
    subjects: tuple[str, ...]
    styles: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()

    def items(self) -> list[Item]:
        out = []
        for s, t, b in itertools.product(self.subjects, self.styles or (None,), self.backgrounds or (None,)):
            words = [s, f"{t} style" if t else "", f"{b} background" if b else ""]
            text = ", ".join(w for w in words if w)
            slug = "_".join(w for w in (s, t, b) if w).replace(" ", "-")
            out.append(
                Item(
                    id=f"{self.group}/{slug}", group=self.group, prompt=text, canonical=text,
                    subject=s, style=t, background=b, experts=self.experts,
                )
            )  # fmt: skip
        return out


class Choice(_Frozen):
    """One prompt of a selection suite.

    ``want`` maps a facet to the skills that the prompt asks for and the world has, by name; ``uncovered`` lists the
    words of the prompt for which it has nothing.
    """

    id: str
    group: str
    prompt: str
    want: dict[Literal["subject", "style", "background"], tuple[str, ...]] = Field(default_factory=dict)
    uncovered: tuple[str, ...] = ()


class Suite(_Frozen):
    """A suite as its file says it."""

    name: str
    title: str
    kind: Literal["images", "selection"] = "images"
    judge: str | None = None
    """Who judges its images; the base's own by default."""
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    items: tuple[Item, ...] = ()
    grids: tuple[Grid, ...] = ()
    choices: tuple[Choice, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> Suite:
        ids = [i.id for i in self.all_items()] + [c.id for c in self.choices]
        doubles = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) != len(ids) else []
        if doubles:
            raise ValueError(f"ids appear twice: {', '.join(doubles[:5])}")
        if not ids:
            raise ValueError("a suite needs at least one prompt")
        return self

    def all_items(self) -> list[Item]:
        """Listed items, then those of the grids."""
        return [*self.items, *(i for g in self.grids for i in g.items())]

    def select(self, limit: int | None = None) -> list[Item]:
        """At most ``limit`` items of each group, spread evenly over the group."""
        groups: dict[str, list[Item]] = {}
        for item in self.all_items():
            groups.setdefault(item.group, []).append(item)
        chosen = []
        for items in groups.values():
            n = len(items) if limit is None else min(limit, len(items))
            chosen += [items[i * len(items) // n] for i in range(n)]
        return chosen

    @property
    def digest(self) -> str:
        """sha256 of the suite's content."""
        said = self.model_dump_json(exclude={"judge"} if self.judge is None else None)
        return hashlib.sha256(said.encode()).hexdigest()


def names() -> list[str]:
    """All suites that ship, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.stem.startswith("_"))


def load(name: str) -> Suite:
    """A suite by name, or by the path of a YAML file of one's own.

    Raises:
        UserError: no such suite (the closest are named), or a file that is no suite.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if name.startswith("_") or not path.is_file():
        close = difflib.get_close_matches(name, names(), n=3) or names()
        raise UserError(f"There is no suite called {name!r}. Closest: {', '.join(close)}.")
    try:
        return Suite.model_validate({"name": path.stem, **yaml.safe_load(path.read_text(encoding="utf-8"))})
    except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise UserError(f"{path} is no suite: {error}") from error


class Truth(_Frozen):
    """What the embedded world really holds: which repository knows which skill, and which are decoys."""

    subject: dict[str, tuple[str, ...]]
    style: dict[str, tuple[str, ...]]
    background: dict[str, tuple[str, ...]]
    base: dict[str, tuple[str, ...]]
    """Facet -> what the base draws itself."""
    decoys: dict[str, str]
    """What is wrong with it -> expert id."""

    def experts(self, facet: str, name: str) -> tuple[str, ...]:
        """Ids of the experts that know a skill (any of them is right); none for what the base draws or nobody knows."""
        if facet == "subject":
            return tuple(e for e, names in self.subject.items() if name in names)
        return (self.style if facet == "style" else self.background).get(name, ())


@cache
def truth() -> Truth:
    """The world's truth (``suites/_truth.yaml``)."""
    return Truth.model_validate(yaml.safe_load((FOLDER / "_truth.yaml").read_text(encoding="utf-8")))
