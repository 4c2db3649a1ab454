"""Metrics: one number an image, for reports; nothing is steered by them. One file a metric; ``@metric("name")``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ...plugins import Registry

if TYPE_CHECKING:
    from PIL import Image


@runtime_checkable
class Metric(Protocol):
    """Measures images."""

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        """One number an image, in order; prompt i is what image i was drawn for."""
        ...


Maker = Callable[[str], Metric]
"""Makes a metric; its argument is what follows ``name:``, "" if nothing does."""
_M = TypeVar("_M", bound=Maker)
_METRICS: Registry[Maker] = Registry("metric", "diffgraph.metrics", __name__)


def metric(name: str) -> Callable[[_M], _M]:
    """Register what makes a metric (a class, a function) under ``name``. A name twice is an error at import."""
    return _METRICS.register(name)


def names() -> list[str]:
    """All registered metrics, sorted."""
    return _METRICS.names()


def make(named: str) -> Metric:
    """The metric that ``name`` or ``name:argument`` means. Raises UserError that names the closest ones."""
    name, _, argument = named.strip().partition(":")
    return _METRICS.get(name)(argument)
