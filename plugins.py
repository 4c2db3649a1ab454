"""A registry of plug-ins: one file each, found by importing a folder and by entry points. Imports no torch."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
from typing import Generic, TypeVar

from .errors import PlanError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named plug-ins of one sort.

    Args:
        sort: what a plug-in is called in messages ("merge method").
        package: the package whose modules are all imported at first use.
        group: the entry-point group through which other distributions add theirs.
    """

    def __init__(self, sort: str, package: str, group: str) -> None:
        self.sort, self.package, self.group = sort, package, group
        self._items: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, item: T) -> None:
        """Register ``item``. Raises ValueError at import time for a bad or taken name."""
        if not name.isidentifier() or name != name.lower():
            raise ValueError(f"{name!r} is no name for a {self.sort}: use lower case, digits and underscores")
        if name in self._items:
            raise ValueError(f"two {self.sort}s are called {name!r}")
        self._items[name] = item

    def get(self, name: str) -> T:
        """The plug-in called ``name``. Raises PlanError that names the closest known ones."""
        items = self.items()
        if name not in items:
            close = difflib.get_close_matches(name, items, n=3, cutoff=0.5) or sorted(items)
            raise PlanError(f"there is no {self.sort} {name!r}; did you mean {', '.join(close)}?")
        return items[name]

    def items(self) -> dict[str, T]:
        """All plug-ins by name, sorted."""
        if not self._loaded:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            for entry in importlib.metadata.entry_points(group=self.group):
                entry.load()
            self._loaded = True
        return dict(sorted(self._items.items()))
