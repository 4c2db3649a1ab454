"""Metrics by name: image + request in, verdicts out. One file a metric; ``@metric("name")`` registers it."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ..errors import UserError
from .request import Verdict, Wanted

if TYPE_CHECKING:
    from PIL import Image


@runtime_checkable
class Metric(Protocol):
    """Anything that judges images against a request. ``score`` returns one verdict an image, in order."""

    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]: ...


Maker = Callable[..., Metric]
"""Builds a metric; keyword arguments are the metric's own (a folder of weights, a callable to ask, …)."""
_M = TypeVar("_M", bound=Maker)
_makers: dict[str, Maker] = {}
_discovered = False


def metric(name: str) -> Callable[[_M], _M]:
    """Register a metric class or maker under ``name``. A duplicate or a non-callable fails at import."""

    def register(maker: _M) -> _M:
        if not callable(maker):
            raise TypeError(f"metric {name!r} is not callable")
        if name in _makers and _makers[name] is not maker:
            raise ValueError(f"two metrics are called {name!r}")
        _makers[name] = maker
        return maker

    return register


def _discover() -> None:
    global _discovered
    if _discovered:
        return
    package = importlib.import_module(".critics", __package__)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f".{module.name}", package.__name__)
    for point in entry_points(group="diffgraph.metrics"):
        point.load()
    _discovered = True


def names() -> list[str]:
    """All registered metrics, sorted."""
    _discover()
    return sorted(_makers)


def make(name: str, **options: object) -> Metric:
    """Build the metric called ``name``. Raises UserError that names the closest known ones."""
    _discover()
    if name not in _makers:
        close = difflib.get_close_matches(name, _makers, n=3) or sorted(_makers)
        raise UserError(f"No metric is called {name!r}. Closest: {', '.join(close)}.")
    return _makers[name](**options)
