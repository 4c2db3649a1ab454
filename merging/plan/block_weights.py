"""Per-module weights of a plan's expert. Imports no torch."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from ...bases.index import BaseIndex
from ...errors import PlanError
from .merge_plan import PlanExpert


class BlockWeights:
    """The factor that ``spec.blocks`` gives each module, times the one that ``spec.components`` gives its component.

    A pattern is a module's exact name or a glob over it (``*`` crosses dots), with or without the component in front;
    never a substring. The longest matching pattern wins, then the alphabetically first; no match means 1. Patterns
    over components work the same way.

    Raises:
        PlanError: a pattern that matches no module (no component) of the base.
    """

    def __init__(self, spec: PlanExpert, base: BaseIndex) -> None:
        order = _ordered(spec.blocks)
        self._patterns = _compiled(order)
        self._components = _compiled(_ordered(spec.components))
        for pattern, (regex, _) in zip((name for name, _ in _ordered(spec.components)), self._components, strict=True):
            if not any(regex.match(name) for name in base.files):
                raise PlanError(
                    f"expert {spec.id}: the component pattern {pattern!r} matches none of {', '.join(base.files)}"
                )
        if order:
            names = [name for module in base.by_underscore.values() for name in (module, module.partition(".")[2])]
            for (pattern, _), (regex, _) in zip(order, self._patterns, strict=True):
                if not any(regex.match(name) for name in names):
                    hint = f"; did you mean {pattern}.*?" if any(n.startswith(f"{pattern}.") for n in names) else ""
                    raise PlanError(f"expert {spec.id}: the block pattern {pattern!r} matches no module{hint}")

    @property
    def plain(self) -> bool:
        """Whether every factor is 1."""
        return not self._patterns and not self._components

    def factor(self, target: str) -> float:
        """The factor at a target."""
        if self.plain:
            return 1.0
        module = target.rpartition(".")[0]
        component, _, bare = module.partition(".")
        return _first(self._components, component) * _first(self._patterns, module, bare)


_Patterns = list[tuple[re.Pattern[str], float]]


def _ordered(patterns: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(patterns.items(), key=lambda item: (-len(item[0]), item[0]))


def _compiled(order: list[tuple[str, float]]) -> _Patterns:
    return [(re.compile(fnmatch.translate(pattern)), factor) for pattern, factor in order]


def _first(patterns: _Patterns, *names: str) -> float:
    """The factor of the first pattern that matches one of the names; 1 if none does."""
    for regex, factor in patterns:
        if any(regex.match(name) for name in names):
            return factor
    return 1.0
