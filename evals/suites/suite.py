"""What a suite is, the kinds of suites, and where a suite is found by its name.

A suite is data: a YAML file here (a leading underscore: shared data, no suite) or anywhere, whose ``kind`` says what is
done with it. Adding a kind: a file here, or a module of your own named by the entry-point group ``diffgraph.suites``,
with a `Suite` of your own and a function under ``@suite_kind("name", YourSuite)`` that runs it. A kind whose suite
needs no data is itself a suite of that name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from PIL import Image
from pydantic import JsonValue, ValidationError

from ...errors import UserError
from ...plugins import Registry, closest
from ...tools.context import Context
from .items import Frozen, Item

FOLDER = Path(__file__).parent
Progress = Callable[[int, int, str], None]
"""Called with (answers done, answers in all, what is at work)."""
Truths = Callable[[str, str | None, str | None], Image.Image | None]
"""(subject, style, background) -> the true image, or None where there is none."""


class Suite(Frozen):
    """What every suite says. ``judge``: who judges its images; the base's own by default."""

    name: str
    title: str
    kind: str = "images"
    judge: str | None = None

    def all_items(self) -> list[Item]:
        """Its prompts with what an image must show; none for a suite that makes no images."""
        return []

    @property
    def digest(self) -> str:
        """sha256 of the suite's content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class SuiteResult:
    """Where a suite's outcome lies; ``summary`` is what the report's tables show, ``details`` what stands behind it.

    Both are JSON-plain.
    """

    name: str
    folder: Path
    log: Path
    markdown: Path
    html: Path
    summary: dict[str, JsonValue]
    details: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What the caller wants of a run.

    Attributes:
        root: the folder of all evaluations.
        arms: only these; None: the suite's.
        seeds: other seeds than the suite's.
        limit: at most so many prompts of each group.
        joint: a LoRA trained jointly on the true combinations.
        truths: gives true images for the similarity column.
        on_progress: told after every answer.
        data: a folder that the suite reads.
        critics: settings of the critics that are measured, ``NAME=`` before one that is to be called otherwise.
        images: a folder of images that were drawn before.
        metrics: what else is measured of every image; None: the suite's.
    """

    root: Path
    arms: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    limit: int | None = None
    joint: Path | None = None
    truths: Truths | None = None
    on_progress: Progress | None = None
    data: Path | None = None
    critics: Sequence[str] | None = None
    images: Path | None = None
    metrics: Sequence[str] | None = None


S = TypeVar("S", bound=Suite)
Run = Callable[[S, Context, Options], SuiteResult]
RunAlone = Callable[[S, Options], SuiteResult]


@dataclass(frozen=True)
class Kind(Generic[S]):
    """A kind of suites: how its data look, and what is done with them: on a base (``run``), or without any
    (``alone``).
    """

    model: type[S]
    run: Run[S] | None = None
    alone: RunAlone[S] | None = None

    @property
    def needs_data(self) -> bool:
        """Whether a suite of this kind is nothing without a file."""
        return any(f.is_required() for name, f in self.model.model_fields.items() if name not in ("name", "kind"))


KINDS: Registry[Kind[Any]] = Registry("kind of suite", "diffgraph.suites", __package__ or "")


def suite_kind(name: str, model: type[S]) -> Callable[[Run[S]], Run[S]]:
    """Register a function that runs suites of the kind ``name``, whose data are a ``model``."""

    def add(run: Run[S]) -> Run[S]:
        KINDS.add(name, Kind(model, run))
        return run

    return add


def suite_without_base(name: str, model: type[S]) -> Callable[[RunAlone[S]], RunAlone[S]]:
    """The same for suites that need no base, no graph and no weights."""

    def add(run: RunAlone[S]) -> RunAlone[S]:
        KINDS.add(name, Kind(model, alone=run))
        return run

    return add


def names() -> list[str]:
    """All suites that ship or that a distribution brings, sorted."""
    files = {p.stem for p in FOLDER.glob("*.yaml") if not p.stem.startswith("_")}
    return sorted(files | {name for name, kind in KINDS.items().items() if not kind.needs_data})


def load(name: str) -> Suite:
    """A suite by name, or by the path of a YAML file of one's own.

    Raises:
        UserError: no such suite (the closest are named), or a file that is no suite.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    try:
        if path.is_file() and not name.startswith("_"):
            return _parsed({"name": path.stem, **yaml.safe_load(path.read_text(encoding="utf-8"))})
        if name in names():
            return _parsed({"name": name, "kind": name})
    except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise UserError(f"{path} is no suite: {error}") from error
    close = closest(name, names()) or names()
    raise UserError(f"There is no suite called {name!r}. Closest: {', '.join(close)}.")


def _parsed(content: dict[str, object]) -> Suite:
    suite: Suite = KINDS.get(str(content.get("kind", "images"))).model.model_validate(content)
    return suite
