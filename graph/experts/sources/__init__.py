"""Where experts are found. One file a source; it registers itself with ``@source("name")``.

Adding one: write a class with the methods of :class:`Source` in a new file of this folder (or in your own package,
named by the entry-point group ``diffgraph.sources``) and decorate it. Nothing else is edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from ....files.header import Header
from ....plugins import Registry
from ..expert import Frozen, SourceRef
from ..said import Said


class Listing(Frozen):
    """One repository as a source lists it.

    Attributes:
        revision: its newest one, where the list says it.
        stamp: changes when anything in the repository does; empty where the list says nothing of the kind.
        outside: why it is no expert for images, where the list shows that already.
    """

    repo: str
    created: str = ""
    tags: tuple[str, ...] = ()
    downloads: int | None = None
    revision: str = ""
    stamp: str = ""
    outside: str = ""


class Search(Frozen):
    """What a hub is asked for.

    Attributes:
        text: words; empty for everything.
        base: only experts for this base, as a family (``sdxl``) or in the hub's own words; empty for any.
        kinds: only these kinds, in the hub's own words; empty for all that it holds for us.
    """

    text: str = ""
    base: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The same for the same search: under it is remembered how far it has come."""
        return "\n".join([self.text, self.base, *self.kinds])


class Page(Frozen):
    """A part of a hub's list, and the cursor of the part after it; empty at the end."""

    listings: tuple[Listing, ...]
    cursor: str = ""


class RepoFile(Frozen):
    """One file of a repository. ``sha256`` is None where the source does not say it."""

    path: str
    size: int
    sha256: str | None = None


class RepoInfo(Frozen):
    """A repository at one revision, its files and the date it appeared (ISO, or empty).

    ``label`` is what its expert is called in ids, where that is not the repository's own (`Source.label`).
    """

    repo: str
    revision: str
    files: tuple[RepoFile, ...]
    created: str = ""
    label: str = ""


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


@runtime_checkable
class Paged(Source, Protocol):
    """A source with a list so long that it comes in pages.

    Attributes:
        access: what changes when its user gains or loses access to it: whether there is a token. Never the token.
    """

    access: str

    def pages(self, search: Search, cursor: str = "") -> Iterator[Page]:
        """The list page by page, from the beginning or from a page's cursor; another process may have kept that."""
        ...


@runtime_checkable
class Keeps(Source, Protocol):
    """A source that can tell which files are on this machine without a word to its host."""

    def kept(self, ref: SourceRef) -> Path | None:
        """The file, verified as `fetch` does it; None where it would have to be downloaded."""
        ...


@runtime_checkable
class Speaking(Source, Protocol):
    """A source that knows more of a repository than its card."""

    def said(self, info: RepoInfo) -> Said | None:
        """What its page says of the expert in it."""
        ...


class FileSums(Frozen):
    """Sums of one file: of the whole, those of its tensors that its header claims, and that of its tensors."""

    sha256: str
    claimed: tuple[str, ...] = ()
    payload: str = ""


@runtime_checkable
class KnowsFiles(Protocol):
    """A source that knows files by their sums, wherever they lie."""

    def published(self, files: Sequence[FileSums]) -> Iterator[tuple[FileSums, Said | None]]:
        """What it says of each, in order; None where it does not know it."""
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
