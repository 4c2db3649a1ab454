"""A suite of images as its file says it."""

from __future__ import annotations

from pydantic import model_validator

from .items import Grid, Item
from .suite import Suite


class ImageSuite(Suite):
    """Prompts with what an image must show and which experts know how (``experts``, the oracle choice), as ``items`` or
    as ``grids`` of subjects x styles x backgrounds; the arms that answer them, the seeds, and metrics that are shown
    beside the judge's word.
    """

    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    metrics: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    grids: tuple[Grid, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> ImageSuite:
        check_unique([i.id for i in self.all_items()])
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


def check_unique(ids: list[str]) -> None:
    """Raise ValueError for ids that appear twice, or none at all."""
    doubles = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) != len(ids) else []
    if doubles:
        raise ValueError(f"ids appear twice: {', '.join(doubles[:5])}")
    if not ids:
        raise ValueError("a suite needs at least one prompt")
