"""Many low-rank merges at once, for devices that compute faster than Python can ask them to.

A GPU merges one of SDXL's weights in some microseconds; asking it to takes as long for every kernel call. So the
factors that an expert has at weights of one shape lie in one piece of memory (`FactorStack`), weights that take them
from the same stacks are prepared together (`TaskGroup`), and `gpu_merge` has a kernel that merges a group in one
launch. Where that does not run, `write_group` brings a plan's factors at all those weights together by one call an
expert, not by eight a weight, and multiplies them by one call a weight. Either way a weight's bits depend on its recipe
alone (`arithmetic`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from ..deltas.delta import Delta
from ..deltas.factors import FactorStack, Numbers
from .arithmetic import Contribution, stackable
from .merge_tasks import MergeTask


@dataclass(frozen=True, eq=False)
class TaskGroup:
    """Weights of one shape that add up factors out of the same stacks.

    Attributes:
        tasks: one for each weight.
        terms: for every expert its stack, which entry of it each weight takes, and the expert's weight.
    """

    tasks: Sequence[MergeTask]
    terms: Sequence[tuple[FactorStack, Sequence[int], float]]

    def stackable(self, dtype: torch.dtype, norms: Sequence[float]) -> list[bool]:
        """Which weights a product in the base's dtype is exact enough for (`arithmetic.stackable`).

        Args:
            dtype: of the base's weights.
            norms: those of the base's weights, one for each task.
        """
        some = [(stack, list(entries), weight) for stack, entries, weight in self.terms]
        terms = [
            Contribution(s.scales[at] * w, s.reaches[at], s.spreads[at], s.ups.dtype, s.downs.dtype)
            for s, at, w in some
        ]
        first = self.terms[0][0]
        fits: list[bool] = stackable(dtype, first.ups.shape[2] * first.downs.shape[2], np.array(norms), terms).tolist()
        return fits

    def only(self, which: Sequence[bool]) -> TaskGroup:
        """The weights that ``which`` says, one truth for each."""
        terms = [(stack, list(compress(entries, which)), weight) for stack, entries, weight in self.terms]
        return TaskGroup(list(compress(self.tasks, which)), terms)


def packed(deltas: Mapping[str, Delta], device: torch.device) -> dict[str, Delta]:
    """The deltas on a device, out of their file; plain low-rank ones of equal shape and dtype in one `FactorStack`."""
    alike: dict[tuple[object, ...], list[str]] = {}
    out: dict[str, Delta] = {}
    for target, delta in deltas.items():
        if (term := delta.single) is None:
            out[target] = delta.to(device)
            continue
        alike.setdefault((*term.up.shape, term.down.shape[1], term.up.dtype, term.down.dtype), []).append(target)
    for targets in alike.values():
        terms = [deltas[target].factors[0] for target in targets]
        stack = FactorStack.of(terms, device)
        for index, (target, term) in enumerate(zip(targets, terms, strict=True)):
            out[target] = Delta(deltas[target].shape, factors=[term.measured_as(stack.factors(index))])
    return {target: out[target] for target in deltas}


def grouped(tasks: Sequence[MergeTask]) -> tuple[list[TaskGroup], list[MergeTask]]:
    """The tasks that add up what lies in stacks, in groups; and the others, which are more than that."""
    groups: list[TaskGroup] = []
    left: list[MergeTask] = []
    same: dict[int, list[MergeTask]] = {}
    for task in tasks:
        same.setdefault(id(task.recipe), []).append(task)
    for some in same.values():
        if not some[0].method.sums and len(some[0].experts) > 1:
            left += some
            continue
        places = [list(map(expert.places.get, [task.target for task in some])) for expert in some[0].experts]
        if any(None in column for column in places):
            left += [task for task, row in zip(some, zip(*places, strict=True), strict=True) if None in row]
            some = [task for task, row in zip(some, zip(*places, strict=True), strict=True) if None not in row]
        groups += _groups(some) if some else ()
    return groups, left


def _groups(tasks: Sequence[MergeTask]) -> Iterator[TaskGroup]:
    """Groups of tasks of one recipe, all in stacks; each in the order of its entries in the first stack."""
    names, shares = [task.target for task in tasks], tasks[0].recipe.shares
    columns = [[expert.places[name] for name in names] for expert in tasks[0].experts]
    alike: dict[tuple[int, ...], list[int]] = {}
    stacks = [map(id, map(itemgetter(0), column)) for column in columns]
    for at, same in enumerate(zip(*stacks, strict=True)):
        alike.setdefault(same, []).append(at)
    for which in alike.values():
        which.sort(key=lambda at: columns[0][at][1])
        terms = [
            (column[which[0]][0], [column[at][1] for at in which], weight)
            for column, (_, _, weight) in zip(columns, shares, strict=True)
        ]
        yield TaskGroup([tasks[at] for at in which], terms)


def write_group(group: TaskGroup, outs: Sequence[Tensor], bases: Sequence[Tensor]) -> None:
    """Merge a group's weights: factors scaled in float32 and rounded once to the base's dtype, then one product a
    weight, which is added to a copy of the base's.

    Args:
        group: the weights, n of them.
        outs: n matrices to write to, (rows, columns) each, contiguous.
        bases: n matrices, the base's weights.
    """
    torch._foreach_copy_(list(outs), list(bases))
    ups, downs = _side_by_side(group, bases[0])
    for out, up, down in zip(outs, ups, downs, strict=True):
        out.addmm_(up, down)


def _side_by_side(group: TaskGroup, like: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Up factors (rows, R) and down factors (R, columns) of every weight, R being all ranks."""
    rank = sum(stack.downs.shape[1] for stack, _, _ in group.terms)
    up, down = (like.new_empty(len(group.tasks), rank, side) for side in like.shape)
    at = 0
    for stack, entries, weight in group.terms:
        end = at + stack.downs.shape[1]
        chosen = _chosen(entries, like.device)
        _scaled(stack.ups[chosen], stack.scales[list(entries)] * weight, up[:, at:end])
        down[:, at:end].copy_(stack.downs[chosen])
        at = end
    return up.transpose(1, 2).unbind(0), down.unbind(0)


def _chosen(entries: Sequence[int], device: torch.device) -> slice | Tensor:
    """Entries of a stack: a slice, which copies nothing, wherever they follow each other."""
    first, count = entries[0], len(entries)
    if list(entries) == list(range(first, first + count)):
        return slice(first, first + count)
    return torch.tensor(entries, device=device)


def _scaled(ups: Tensor, scales: Numbers, out: Tensor) -> None:
    if ups.dtype != out.dtype:
        ups = ups.to(torch.float32)
    if (scales == scales[0]).all():
        torch.mul(ups, float(scales[0]), out=out)  # torch multiplies half precision in float32
    else:
        torch.mul(ups, torch.tensor(scales, dtype=torch.float32, device=ups.device)[:, None, None], out=out)
