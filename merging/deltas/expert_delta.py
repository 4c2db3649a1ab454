"""An expert, read: its canonical deltas, and how much of it a base can take. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...files.mapped_file import MappedFile
    from .delta import Delta
    from .factors import FactorStack


@dataclass(frozen=True)
class ExpertDelta:
    """An expert, read: what it does to each target of the base it was read against.

    Attributes:
        path: the file or folder.
        format: name of the format.
        kind: kind of expert.
        rank: largest rank, or None.
        deltas: target -> delta (float32); targets that the base lacks are included.
        missing: targets that the base lacks.
        notes: what was decided about the file that its user should know.
    """

    path: Path
    format: str
    kind: str
    rank: int | None
    deltas: Mapping[str, Delta]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    _norms: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def norm(self, target: str | None = None) -> float:
        """Frobenius norm of one target's delta, or of all applicable ones together (remembered)."""
        if target is None:
            return math.sqrt(math.fsum(self.norm(name) ** 2 for name in self.deltas if name not in self.missing))
        if target not in self._norms:
            self._norms[target] = self.deltas[target].norm()
        return self._norms[target]

    @property
    def nbytes(self) -> int:
        return sum(delta.nbytes for delta in self.deltas.values())

    @cached_property
    def sources(self) -> frozenset[MappedFile]:
        """The files that its deltas are still views of."""
        terms = (term for delta in self.deltas.values() for term in delta.factors)
        return frozenset(term.source for term in terms if term.source is not None)

    @cached_property
    def places(self) -> Mapping[str, tuple[FactorStack, int]]:
        """Target -> the stack that its delta lies in and which entry it is; targets that lie in none are left out."""
        terms = ((target, delta.single) for target, delta in self.deltas.items())
        return {t: (term.stack, term.index) for t, term in terms if term is not None and term.stack is not None}

    @property
    def coverage(self) -> float:
        """Share of the expert's targets that the base has."""
        return 1.0 - len(self.missing) / len(self.deltas) if self.deltas else 0.0

    @property
    def energy_coverage(self) -> float:
        """Share of the expert's delta energy (squared norm) that lies in targets the base has."""
        lost = math.fsum(self.norm(name) ** 2 for name in self.missing)
        kept = self.norm() ** 2
        return kept / (kept + lost) if kept else 0.0
