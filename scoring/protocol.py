"""Metrics by name: image + request in, verdicts out. One file a metric; ``@metric("name")`` registers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ..plugins import Registry
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
_METRICS: Registry[Maker] = Registry("metric", "diffgraph.metrics", f"{__package__}.critics")


def metric(name: str) -> Callable[[_M], _M]:
    """Register a metric class or maker under ``name``. A duplicate or a non-callable fails at import."""

    def register(maker: _M) -> _M:
        if not callable(maker):
            raise TypeError(f"metric {name!r} is not callable")
        _METRICS.add(name, maker)
        return maker

    return register


def names() -> list[str]:
    """All registered metrics, sorted."""
    return _METRICS.names()


def make(name: str, **options: object) -> Metric:
    """Build the metric called ``name``. Raises UserError that names the closest known ones."""
    return _METRICS.get(name)(**options)
