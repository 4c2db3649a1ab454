"""A plan merged from files, weight by weight, under a byte budget: no pipeline, no model, no mapped file.

One weight is at work at a time, in row blocks if it does not fit whole, so the peak is the budget whatever the
model's size. A weight that fits whole takes the same steps as in `Engine.apply` and comes out with the same bits; so
does one taken by rows, because that is done only where the arithmetic has no sum along a row's neighbours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ...bases.index import BaseIndex, target_name
from ...errors import BudgetExceeded, PlanError
from ...files.dtypes import header_dtype, torch_dtype
from ...files.header import FLOATS, Header, read_header
from ...files.quantisation import with_scales
from ...files.tensor_io import COPY_BYTES, RowReader, RowWriter, TensorEntry, ordered
from ..deltas.delta import Delta
from ..deltas.factors import all_finite
from ..methods import Part, Whole, make
from ..plan.block_weights import BlockWeights
from ..plan.coverage import coverage_problem
from ..plan.merge_plan import MergePlan
from ..plan.pinning import Locate, located, pin_base, pin_experts
from .arithmetic import merged
from .merge_tasks import seed_at
from .streamed_expert import BaseReader, StreamedExpert, blocks

DEFAULT_BUDGET = 2 * 2**30
"""Bytes of tensors that may be alive at a time."""


@dataclass(frozen=True)
class _Source:
    """One expert with a weight at one target."""

    expert: StreamedExpert
    weight: float


class FileMerge:
    """A plan bound to its files, everything checked that headers can show. Weights are read when asked for.

    Args:
        plan: without a schedule: a file holds one set of weights.
        base: the base's index.
        locate: gives the file of an expert.
        budget: bytes of tensors that may be alive at a time.

    Attributes:
        plan, base: as given.
        targets: the weights that the plan touches, sorted. (A checkpoint may turn out to equal the base in some.)
        experts: those of non-zero weight, sorted by sha256.

    Raises:
        PlanError: a schedule, no expert of non-zero weight, other base or bytes, unknown method, partial coverage that
            is not allowed, a pattern that matches nothing.
        ExpertError: a file that cannot be read exactly.
    """

    def __init__(self, plan: MergePlan, base: BaseIndex, locate: Locate, budget: int = DEFAULT_BUDGET) -> None:
        if plan.schedule is not None:
            what = "a schedule changes the weights while an image is sampled, and a file holds one set of them"
            raise PlanError(f"{what}: take the schedule out of the plan to write it")
        pin_base(plan, base)
        self.plan, self.base, self.budget = plan, base, budget
        self._method = make(plan.method)
        self._reader = BaseReader(base)
        self.experts = [StreamedExpert(spec, located(spec, locate), self._reader) for spec in pin_experts(plan)]
        if not self.experts:
            raise PlanError("the plan has no expert of non-zero weight, so there is nothing to merge")
        for expert in self.experts:
            text = coverage_problem(expert.spec.id, expert.all_targets, expert.missing, plan.allow_partial)
            if text is not None:
                raise PlanError(text)
        self._at = self._sources()
        self.targets = tuple(sorted(self._at))
        self._silent = {expert.spec.id for expert in self.experts}

    def _sources(self) -> dict[str, list[_Source]]:
        wholes = [Whole(e.spec.sha256, e.spec.facet, e.spec.weight, partial(e.norm, self.budget)) for e in self.experts]
        out: dict[str, list[_Source]] = {}
        for expert, weight in zip(self.experts, self._method.weights(wholes), strict=True):
            factors = BlockWeights(expert.spec, self.base)
            for target in expert.targets:
                if (at := weight * factors.factor(target)) != 0.0:
                    out.setdefault(target, []).append(_Source(expert, at))
        return out

    def delta(self, target: str, base: Tensor | None = None) -> Delta | None:
        """The merged delta of a whole weight (``base`` in float32, if at hand); None where nothing changes."""
        found = [(source, source.expert.delta(target, base)) for source in self._at.get(target, ())]
        return self._merged([(source, delta) for source, delta in found if delta is not None], target)

    def _merged(self, found: Sequence[tuple[_Source, Delta]], target: str) -> Delta | None:
        parts = []
        for source, delta in found:
            spec = source.expert.spec
            if spec.id in self._silent and (delta.norm() > 0.0 if delta.full is None else bool(delta.full.any())):
                self._silent.discard(spec.id)
            norm = partial(source.expert.norm, self.budget)
            parts.append(Part(spec.sha256, spec.facet, source.weight, delta, norm))
        return self._method.merge(parts, seed_at(self.plan, target) if self._method.seeded else 0)

    def check_silent(self) -> None:
        """After all targets: raise PlanError for an expert whose deltas were all zero."""
        if self._silent:
            raise PlanError(f"expert {', '.join(sorted(self._silent))} changes nothing: its deltas are all zero")

    def weight(self, target: str, dtype: torch.dtype) -> Iterator[Tensor]:
        """The merged weight in consecutive row blocks, in ``dtype``; a single block if it fits the budget whole.

        Raises:
            PlanError: values that ``dtype`` cannot hold.
            BudgetExceeded: not even one row fits, or the method cannot work by rows.
        """
        shape = self.base.shape(target)
        assert shape is not None
        size = self.rows_at_once(target, dtype)
        live = self._at.get(target, [])
        if size < shape[0]:
            live = [source for source in live if self._differs(source, target, size)]
        for start, stop in blocks(shape[0], size):
            base = self._reader.rows(target, start, stop)
            if size < shape[0]:
                rows = [(s, Delta.of(s.expert.difference(target, base, start, stop))) for s in live]
                delta = self._merged(rows, target)
            else:
                delta = self.delta(target, base)
            yield merged(base, delta, dtype, target)

    def _differs(self, source: _Source, target: str, size: int) -> bool:
        """Whether a checkpoint differs from the base anywhere in a weight that is taken by rows."""
        shape = self.base.shape(target) or (0,)
        return any(
            bool(source.expert.difference(target, self._reader.rows(target, start, stop), start, stop).any())
            for start, stop in blocks(shape[0], size)
        )

    def rows_at_once(self, target: str, dtype: torch.dtype) -> int:
        """How many rows of a weight fit the budget; all of them if the weight does. Raises BudgetExceeded."""
        shape = self.base.shape(target)
        assert shape is not None
        fixed, per_row = self._need(target, dtype)
        if fixed + per_row * shape[0] <= self.budget:
            return shape[0]
        sources = self._at.get(target, [])
        rows = (self.budget - fixed) // per_row
        by_rows = all(source.expert.by_rows(target) for source in sources)
        if rows < 1 or not by_rows or not (self._method.rowwise or len(sources) < 2):
            need = fixed + per_row * (shape[0] if rows >= 1 else 1)
            raise BudgetExceeded(
                f"{target} takes {need / 1e6:.0f} MB to merge with {self.plan.method.name}, and the budget is "
                f"{self.budget / 1e6:.0f} MB: give it more"
            )
        return rows

    def check_whole(self, target: str) -> None:
        """Raise BudgetExceeded if a weight does not fit the budget whole, as `delta` needs it."""
        shape = self.base.shape(target)
        assert shape is not None
        fixed, per_row = self._need(target, torch.float32)
        if (need := fixed + per_row * shape[0]) > self.budget:
            raise BudgetExceeded(
                f"{target} takes {need / 1e6:.0f} MB to hold whole, and the budget is {self.budget / 1e6:.0f} MB: "
                "give it more"
            )

    def _need(self, target: str, dtype: torch.dtype) -> tuple[int, int]:
        """(bytes whatever the rows, bytes a row) alive at the height of merging a weight; from above."""
        sources = self._at.get(target, [])
        columns = math.prod((self.base.shape(target) or (0,))[1:])
        fulls = sum(not source.expert.has_factors() for source in sources)
        # The base as it stands, in float32, with the delta added, in the output's dtype, and a mask of finite values.
        values = self._reader.itemsize(target) + 4 + 4 + dtype.itemsize + 1
        # Each full part as it stands, in float32, minus the base, times its weight.
        values += (4 + 4 + 4 + 1 if fulls else 0) + 8 * fulls
        if len(sources) > 1:
            values += 4 * (fulls + 1 if self._method.rowwise else 2 * len(sources) + 4)
        return sum(source.expert.cost(target) for source in sources), values * columns

    @cached_property
    def touched(self) -> frozenset[str]:
        return frozenset(self.targets)

    @cached_property
    def components(self) -> tuple[str, ...]:
        """The components that the plan touches."""
        return tuple(dict.fromkeys(target.partition(".")[0] for target in self.targets))


def _rows(reader: RowReader, key: str, start: int, stop: int) -> Tensor:
    """Rows as they are to be cast: with their scale, if they have one."""
    return reader.values(key, start, stop) if key in reader.header.scales else reader.rows(key, start, stop)


@dataclass(frozen=True)
class OutputFile:
    """A file of a component's weights, to be written with the plan's in place.

    Attributes:
        readers: tensor name -> the base file it comes from; more than one file where shards become one.
        component: whose weights they are.
        dtype: of the floats; None keeps each as it is in the base.
    """

    readers: Mapping[str, RowReader]
    component: str
    dtype: torch.dtype | None = None

    @classmethod
    def over(cls, files: Sequence[Path], component: str, dtype: torch.dtype | None = None) -> OutputFile:
        """All tensors of ``files``. Raises ExpertError for a file that is not sound."""
        readers = [RowReader(with_scales(read_header(file))) for file in files]
        return cls({key: reader for reader in readers for key in reader.header.keys}, component, dtype)

    @cached_property
    def entries(self) -> list[TensorEntry]:
        """The tensors in the order in which they are written."""
        return ordered(
            TensorEntry(key, self._dtype_of(key, reader.header), reader.header.tensors[key].shape)
            for key, reader in self.readers.items()
        )

    def _dtype_of(self, key: str, header: Header) -> str:
        own = header.tensors[key].dtype
        if self.dtype is None:
            return self._unscaled if key in header.scales else own
        return header_dtype(self.dtype) if own in FLOATS else own

    @cached_property
    def _unscaled(self) -> str:
        """The dtype that most parameters without a scale have: scaled ones are written in it, because their products
        with the scale need more digits than they are stored with. bfloat16 where there are none.
        """
        headers = {id(reader.header): reader.header for reader in self.readers.values()}.values()
        found = Counter(i.dtype for h in headers for k, i in h.tensors.items() if k not in h.scales)
        wide = [(count, dtype) for dtype, count in found.items() if dtype in ("F32", "BF16", "F16")]
        return max(wide, default=(0, "BF16"))[1]

    def check(self, merge: FileMerge) -> None:
        """Raise BudgetExceeded if a merged weight cannot be worked on within the merge's budget."""
        for entry in self.entries:
            if (target := target_name(self.component, entry.name)) in merge.touched:
                merge.rows_at_once(target, torch_dtype(entry.dtype, target))

    def write(self, merge: FileMerge, file: BinaryIO, metadata: Mapping[str, str]) -> str:
        """Write it: touched weights merged, all others copied (or cast). Gives the sha256 of the tensors' bytes.

        Raises:
            PlanError, ExpertError, BudgetExceeded: as `FileMerge.weight`.
            UserError: a base file that cannot be read.
        """
        writer = RowWriter(file, self.entries, metadata)
        for entry in self.entries:
            if (target := target_name(self.component, entry.name)) in merge.touched:
                for block in merge.weight(target, torch_dtype(entry.dtype, target)):
                    writer.write(block)
            else:
                for piece in self._untouched(entry, merge.budget):
                    writer.write(piece)
        return writer.finish()

    def _untouched(self, entry: TensorEntry, budget: int) -> Iterator[Tensor]:
        reader = self.readers[entry.name]
        info = reader.header.tensors[entry.name]
        if entry.dtype == info.dtype and entry.name not in reader.header.scales:
            yield from reader.chunks(entry.name, max(1, min(COPY_BYTES, budget)))
            return
        dtype = torch_dtype(entry.dtype)
        rows = max(1, info.shape[0]) if info.shape else 1
        both = (info.end - info.start + entry.nbytes) // rows + 1
        for start, stop in blocks(rows, max(1, budget // both)):
            cast = _rows(reader, entry.name, start, stop).to(dtype)
            if not all_finite(cast):
                raise PlanError(f"{entry.name} has values that {dtype} cannot hold: keep the base's dtype")
            yield cast
