"""One expert, read a target at a time, for merges that must not hold it whole.

What a file means stays with its format: a format is handed headers cut down to the keys that some targets need, and
reads those alone. A diffusers checkpoint, whose tensors are the weights themselves, is also read by rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ...bases.index import BaseIndex, target_name
from ...files.header import BITS, Header, read_header
from ...files.quantisation import with_scales
from ...files.tensor_io import RowReader
from ..deltas.delta import Delta
from ..formats.detect import detect
from ..formats.format import TargetInfo, expert_error
from ..formats.read import check_shapes, expert_files
from ..plan.merge_plan import PlanExpert


class BaseReader:
    """Rows of a base's weights in float32, from its files."""

    def __init__(self, index: BaseIndex) -> None:
        self.index = index
        self.reader = cache(lambda file: RowReader(with_scales(read_header(file))))

    def rows(self, target: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows of a weight in float32. Raises UserError if they cannot be read."""
        file, key, _ = self.index.params[target]
        rows: Tensor = self.reader(file).values(key, start, stop)
        return rows

    def itemsize(self, target: str) -> int:
        return BITS[self.index.params[target][2].dtype] // 8


class StreamedExpert:
    """An expert of a plan, checked against a base by its headers, its deltas read when asked for.

    Attributes:
        spec: the plan's entry.
        kind: kind of expert.
        targets: what it changes and the base has, sorted.
        all_targets: also those that the base lacks.
        missing: those that the base lacks.

    Raises:
        ExpertError: as `read_expert`, as far as headers show it.
    """

    def __init__(self, spec: PlanExpert, path: Path, base: BaseReader) -> None:
        self.spec, self._base = spec, base
        self._files = expert_files(path)
        self._format, self.kind = detect(self._files[0])
        infos = self._format.targets(self._files, base.index)
        self.missing = check_shapes(self._files[0], infos, base.index)
        self.all_targets = tuple(sorted(infos))
        self.targets = tuple(sorted(set(infos) - set(self.missing)))
        self._rows = dict(_by_rows(self._files, infos, base.index)) if self._format.holds_weights else {}
        rest = {target: info for target, info in infos.items() if target not in self._rows}
        # A checkpoint in another layout is taken apart as a whole: its format compares it with the base as a whole.
        whole = self._format.holds_weights
        self._groups = dict.fromkeys(rest, _keys(rest.values())) if whole else _groups(rest)
        self._low_rank = self._format.low_rank(self._files[0])
        self._last: tuple[frozenset[str], dict[str, Delta]] = frozenset(), {}

    def by_rows(self, target: str) -> bool:
        """Whether `difference` can give this target's delta by rows."""
        return target in self._rows

    def has_factors(self) -> bool:
        """Whether its deltas are low-rank factors (save for biases), so that no full matrix is formed."""
        return self._low_rank

    def cost(self, target: str) -> int:
        """Bytes that reading the target's delta holds at its height, but for a full matrix of the weight's size."""
        if target in self._rows:
            return 0
        return 3 * sum(
            info.numel * 4
            for header in self._files
            for key, info in header.tensors.items()
            if key in self._groups[target]
        )

    def delta(self, target: str, base: Tensor | None = None) -> Delta | None:
        """The canonical delta at a target; None where a checkpoint equals the base.

        Args:
            target: one of ``targets``.
            base: the base's weight in float32, if it is at hand.

        Raises:
            ExpertError: NaN or infinite values, or whatever else the format refuses.
        """
        if target in self._rows:
            difference = self.difference(target, self._base.rows(target) if base is None else base)
            return Delta.of(difference) if bool(difference.any()) else None
        keys = self._groups[target]
        if self._last[0] != keys:
            self._last = frozenset(), {}  # let go of the last ones first
            self._last = keys, self._format.read(_cut(self._files, keys), self._base.index)
        return self._last[1].get(target)

    def difference(self, target: str, base: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows of the expert's weight minus ``base``, the same rows of the base's, in float32."""
        reader, key = self._rows[target]
        rows = reader.values(key, start, stop)
        if not bool(torch.isfinite(rows).all()):
            raise expert_error(reader.header, "holds NaN or infinite values", (key,))
        return rows - base

    def norm(self, budget: int) -> float:
        """Frobenius norm over all its targets; weights that alone are over ``budget`` bytes are added up by rows."""
        return math.sqrt(math.fsum(self._norm(target, budget) ** 2 for target in self.targets))

    def _norm(self, target: str, budget: int) -> float:
        shape = self._base.index.shape(target)
        assert shape is not None
        row = math.prod(shape[1:]) * 48  # bytes: float32 thrice over, and the sum of squares in float64
        if target not in self._rows or shape[0] * row <= budget:
            delta = self.delta(target)
            return 0.0 if delta is None else delta.norm()
        parts = []
        for start, stop in blocks(shape[0], max(1, budget // row)):
            rows = self.difference(target, self._base.rows(target, start, stop), start, stop)
            parts.append(Delta.of(rows).norm() ** 2)
        return math.sqrt(math.fsum(parts))


def blocks(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive blocks of at most ``size`` rows."""
    for start in range(0, rows, size):
        yield start, min(rows, start + size)


def _by_rows(
    files: Sequence[Header], infos: dict[str, TargetInfo], base: BaseIndex
) -> Iterator[tuple[str, tuple[RowReader, str]]]:
    """Targets whose weight stands in a file as it is, under the base's own name and in its own shape."""
    for header in files:
        reader = RowReader(header)
        folder = header.path.parent.name
        for key, info in header.tensors.items():
            for component in [folder] if folder in base.files else base.files:
                target = target_name(component, key)
                if target in infos and infos[target].keys == (key,) and base.shape(target) == info.shape:
                    yield target, (reader, key)
                    break


def _keys(infos: Collection[TargetInfo]) -> frozenset[str]:
    return frozenset(key for info in infos for key in info.keys)


def _groups(infos: dict[str, TargetInfo]) -> dict[str, frozenset[str]]:
    """Target -> the keys to read for it: its own, those of its module, and of whatever shares a key with them."""
    group_of: dict[str, int] = {}
    members: list[set[str]] = []
    for target, info in sorted(infos.items()):
        names = {*info.keys, f"module {target.rpartition('.')[0]}"}
        joined = {group_of[name] for name in names if name in group_of}
        merged = names.union(*(members[index] for index in joined))
        members.append(merged)
        group_of.update(dict.fromkeys(merged, len(members) - 1))
    return {
        target: frozenset(name for name in members[group_of[info.keys[0]]] if not name.startswith("module "))
        for target, info in infos.items()
    }


def _cut(files: Sequence[Header], keys: frozenset[str]) -> list[Header]:
    """The headers with no other tensors than ``keys``; files that have none of them are left out."""
    cut = [
        replace(h, tensors=MappingProxyType({k: t for k, t in h.tensors.items() if k in keys}), whole=h.whole or h)
        for h in files
    ]
    return [header for header in cut if header.tensors]
