"""What this process has read of the graph, kept in step with what it writes itself, so that a write costs no reading.

What another process writes changes the graph's stamp; then everything is read anew when it is next asked for.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..calibration.record import Calibration
from ..relations.relation import Relation
from .rows import View
from .tables import Known


@dataclass
class Picture:
    """Experts sorted by id, calibrations oldest first, relations; None where nothing was read yet."""

    stamp: str = ""
    known: dict[str, Known] | None = None
    order: list[str] = field(default_factory=list)
    calibrations: tuple[Calibration, ...] | None = None
    relations: tuple[Relation, ...] | None = None
    views: dict[str, View] = field(default_factory=dict)

    def at(self, stamp: str) -> Picture:
        """Itself, emptied if the graph's stamp is another one."""
        if stamp != self.stamp:
            self.known, self.calibrations, self.relations, self.order = None, None, None, []
            self.views.clear()
            self.stamp = stamp
        return self

    def experts(self, read: Callable[[], Iterable[Known]]) -> list[Known]:
        """All experts and bases, sorted by id."""
        if self.known is None:
            self.known = {expert.id: (expert, at) for expert, at in read()}
            self.order = sorted(self.known)
        return [self.known[i] for i in self.order]

    def wrote(self, before: str, after: str, experts: Iterable[Known] = (), *, kind: str = "experts") -> None:
        """Take in what this process wrote between two stamps; ``kind`` other than experts is read anew."""
        if before != self.stamp:
            return  # somebody wrote in between: all is read anew anyway
        self.stamp = after
        self.views.clear()
        if kind == "calibrations":
            self.calibrations = None
        elif kind == "relations":
            self.relations = None
        if self.known is not None:
            for expert, at in experts:
                if expert.id not in self.known:
                    bisect.insort(self.order, expert.id)
                self.known[expert.id] = (expert, at)
