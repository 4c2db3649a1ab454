"""Where experts are found. One file a source; it registers itself with ``@source("name")``.

Adding one: write a class with the methods of :class:`Source` in a new file of this folder (or in your own package,
named by the entry-point group ``diffgraph.sources``) and decorate it. Nothing else is edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from ....files.header import Header
from ....plugins import Registry
from ..expert import Frozen, SourceRef


class Listing(Frozen):
    """One repository as a source lists it."""

    repo: str
    created: str = ""
    tags: tuple[str, ...] = ()
    downloads: int | None = None


class RepoFile(Frozen):
    """One file of a repository. ``sha256`` is None where the source does not say it."""

    path: str
    size: int
    sha256: str | None = None


class RepoInfo(Frozen):
    """A repository at one revision, its files and the date it appeared (ISO, or empty)."""

    repo: str
    revision: str
    files: tuple[RepoFile, ...]
    created: str = ""


@runtime_checkable
class Source(Protocol):
    """A place that experts come from. A source reaches its own host or folder only.

    Attributes:
        name: what it is registered as.
        searches: whether `list` looks for what a query asks for, as a hub's search does. A source that only compares
            names says no, and is listed whole when a skill is missing: names seldom say what an expert can do.
    """

    name: str
    searches: bool = False

    def list(self, query: str | None = None) -> Iterable[Listing]:
        """Repositories, in a stable order; ``query`` narrows them."""
        ...

    def info(self, repo: str) -> RepoInfo:
        """Files and revision. UserError if there is no such repository."""
        ...

    def card(self, repo: str) -> str:
        """The card's text, bounded; empty if there is none."""
        ...

    def header(self, ref: SourceRef) -> Header:
        """A weight file's checked safetensors header, without its tensors where that can be had."""
        ...

    def sha256(self, ref: SourceRef) -> str:
        """The file's content hash."""
        ...

    def fetch(self, ref: SourceRef) -> Path:
        """The file on this machine, its length, hash and header verified."""
        ...

    def label(self, repo: str) -> str:
        """A short, readable and unique name of a repository, for ids."""
        ...


Factory = Callable[..., Source]
"""Makes a source; options are the source's own (``root=`` for a folder, ``endpoint=`` for a hub)."""
_F = TypeVar("_F", bound=Callable[..., Any])
_SOURCES: Registry[Factory] = Registry("source", "diffgraph.sources", __name__)


def source(name: str) -> Callable[[_F], _F]:
    """Register a source's class (or any factory) under ``name``. A name twice is an error at import."""
    return _SOURCES.register(name)


def names() -> list[str]:
    """All registered sources."""
    return _SOURCES.names()


def get(name: str, *argument: str, **options: Any) -> Source:
    """A source by name; ``argument`` (what follows ``name:`` in a setting) and ``options`` go to it.

    Raises:
        UserError: no such source; the message names the closest ones.
    """
    return _SOURCES.get(name)(*argument, **options)
