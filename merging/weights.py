"""Per-module weights of a plan's expert. Imports no torch."""

from __future__ import annotations

import fnmatch
import re

from ..errors import PlanError
from .base import BaseIndex
from .plan import PlanExpert


class BlockWeights:
    """The factor that ``spec.blocks`` gives each module.

    A pattern is a module's exact name or a glob over it (``*`` crosses dots), with or without the component in front;
    never a substring. The longest matching pattern wins, then the alphabetically first; no match means 1.

    Raises:
        PlanError: a pattern that matches no module of the base.
    """

    def __init__(self, spec: PlanExpert, base: BaseIndex) -> None:
        order = sorted(spec.blocks.items(), key=lambda item: (-len(item[0]), item[0]))
        self._patterns = [(re.compile(fnmatch.translate(pattern)), factor) for pattern, factor in order]
        if order:
            names = [name for module in base.by_underscore.values() for name in (module, module.partition(".")[2])]
            for (pattern, _), (regex, _) in zip(order, self._patterns, strict=True):
                if not any(regex.match(name) for name in names):
                    hint = f"; did you mean {pattern}.*?" if any(n.startswith(f"{pattern}.") for n in names) else ""
                    raise PlanError(f"expert {spec.id}: the block pattern {pattern!r} matches no module{hint}")

    def factor(self, target: str) -> float:
        """The factor at a target."""
        if not self._patterns:
            return 1.0
        module = target.rpartition(".")[0]
        bare = module.partition(".")[2]
        for regex, factor in self._patterns:
            if regex.match(module) or regex.match(bare):
                return factor
        return 1.0
