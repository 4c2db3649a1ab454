"""THE registry of plug-ins of every sort that docs/extending lists: tools, methods, formats, sources, bases, critics, …

A plug-in is one file that registers itself: in the folder of its sort, or in another distribution that names the
module under the sort's entry-point group. Nothing is loaded before a sort is first asked for; one plug-in that cannot
be loaded is told and passed over, the others work. `closest` is what every "did you mean" asks. Imports no torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Generic, TypeVar

from rapidfuzz import fuzz, process

from .errors import DiffGraphError, UserError

T = TypeVar("T")
F = TypeVar("F")

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
ANYTHING = (Exception, SystemExit)
"""What a stranger's code may raise: it is told, by name and with its own words, and the others work."""


def closest(name: str, known: Iterable[str], n: int = 3, at_least: float = 0.5) -> list[str]:
    """Up to ``n`` of ``known`` that are most like ``name``, the likest first; case does not count.

    Args:
        name: as somebody typed it; what stands beyond 200 characters is not looked at.
        known: the names there are.
        n: how many at most.
        at_least: likeness from which a name is worth naming: twice the letters in common order, of all letters, 0..1.
    """
    found = process.extract(
        name[:200], sorted(known), scorer=fuzz.ratio, processor=str.casefold, limit=n, score_cutoff=100 * at_least
    )
    return [match for match, _, _ in found]


class Registry(Generic[T]):
    """Named plug-ins of one sort, found when they are first asked for.

    Args:
        sort: what a plug-in is called in messages ("merge method").
        group: the entry-point group through which other distributions add theirs ("diffgraph.merge_methods").
        packages: packages whose modules are all imported at first use.
        error: what an unknown name raises; a `DiffGraphError`.
    """

    def __init__(
        self,
        sort: str,
        group: str,
        *packages: str,
        error: type[DiffGraphError] = UserError,
    ) -> None:
        self.sort, self.group, self.packages = sort, group, packages
        self._error = error
        self._items: dict[str, T] = {}
        self._broken: dict[str, str] = {}
        self._loaded = self._loading = False
        self._lock = threading.RLock()

    def add(self, name: str, item: T) -> None:
        """Register ``item``. Raises ValueError, at import time, for a malformed or a taken name."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a {self.sort}: use lower case, digits, dashes and underscores")
        if name in self._items and self._items[name] is not item:
            raise ValueError(f"two {self.sort}s are called {name!r}")
        self._items[name] = item

    def register(self, name: str) -> Callable[[F], F]:
        """Decorator of a class or function: make it known as ``name``."""

        def add(item: F) -> F:
            self.add(name, item)  # type: ignore[arg-type]
            return item

        return add

    def get(self, name: str) -> T:
        """The plug-in called ``name``.

        Raises:
            DiffGraphError: of the registry's kind: there is none, with the closest names; or the distribution that
                brings it cannot be loaded, with the reason.
        """
        self._load()
        if name in self._items:
            return self._items[name]
        if name in self._broken:
            raise self._error(f"the {self.sort} {name!r} cannot be loaded: {self._broken[name]}")
        raise self._error(f"there is no {self.sort} {name[:80]!r}; did you mean {', '.join(self.near(name))}?")

    def items(self) -> dict[str, T]:
        """All plug-ins by name, sorted."""
        self._load()
        return dict(sorted(self._items.items()))

    def names(self) -> list[str]:
        """All names, sorted."""
        return list(self.items())

    def near(self, name: str) -> list[str]:
        """Up to three names like ``name``; all of them where none is like it."""
        return closest(name, self.names()) or self.names() or ["none at all"]

    @property
    def broken(self) -> dict[str, str]:
        """Entry point -> why it could not be loaded."""
        self._load()
        return dict(self._broken)

    def _load(self) -> None:
        if self._loaded:
            return
        with self._lock:  # another thread waits until all are here
            if self._loading:  # a plug-in asks while it is loaded
                return
            self._loading = True
            try:
                self._import_all()
                self._loaded = True
            finally:
                self._loading = False

    def _import_all(self) -> None:
        for name in self.packages:
            package = importlib.import_module(name)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{name}.{module.name}")
        for point in _entry_points(self.group):
            before = dict(self._items)
            if (why := _fault(point)) is not None:
                self._items = before  # what a module registered before it failed is half of it
                self._broken[point.name] = "; ".join([*filter(None, [self._broken.get(point.name)]), why])


@cache
def _entry_points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of a group in all distributions."""
    return tuple(importlib.metadata.entry_points(group=group))


_tried: dict[tuple[str, str, str, str], str | None] = {}
"""Entry point (group, name, value, distribution) -> why it cannot be loaded, or None: tried once in a process."""


def _fault(point: importlib.metadata.EntryPoint) -> str | None:
    """Load a plug-in; why it cannot be, or None. The first reason stays: a second import tells of its own remains."""
    key = (point.group, point.name, point.value, point.dist.name if point.dist else "")
    if key not in _tried:
        try:
            point.load()
            _tried[key] = None
        except ANYTHING as error:
            _tried[key] = _why(point, error)
    return _tried[key]


def broken_ones() -> dict[str, str]:
    """Every plug-in of another distribution that cannot be loaded, of whatever sort: ``group: name`` -> why.

    What the repository keeps out of the wheel is none of them.
    """
    found: dict[str, str] = {}
    groups = [group for group in importlib.metadata.entry_points().groups if group.startswith(f"{__package__}.")]
    for point in (point for group in sorted(groups) for point in importlib.metadata.entry_points(group=group)):
        why = _fault(point)
        if why is not None and not why.endswith(_LEFT_OUT):
            name = f"{point.group}: {point.name}"
            found[name] = "; ".join([*filter(None, [found.get(name)]), why])
    return found


_LEFT_OUT = "it is part of the repository and not of the wheel: clone it, and install from there"


def _why(point: importlib.metadata.EntryPoint, error: BaseException) -> str:
    module = point.value.partition(":")[0].strip()  # as it stands there; it need not be the name of a module
    if isinstance(error, ModuleNotFoundError) and module.startswith(f"{error.name}"):
        said = f"{module} is not installed"
        return f"{said}; {_LEFT_OUT}" if module.startswith(f"{__package__}.") else said
    dist = f" of {point.dist.name}" if point.dist else ""
    return f"{module}{dist} raises {type(error).__name__}: {str(error)[:300]}"
