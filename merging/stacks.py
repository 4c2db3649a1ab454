"""Many low-rank merges at once, for devices that compute faster than Python can ask them to.

A GPU merges one of SDXL's weights in some microseconds; asking it to takes as long for every kernel call. So the
factors that an expert has at weights of one shape lie in one piece of memory (`Stack`), and a plan's factors at all
those weights are brought together by one call an expert, not by eight a weight. The product itself stays one call a
weight: its bits then depend on the weight's own recipe alone (`executor`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .delta import Delta, Factors
from .executor import Term


@dataclass(frozen=True, eq=False)
class Stack:
    """Factors of one shape and dtype.

    Attributes:
        ups: (n, r, rows), every up factor transposed.
        downs: (n, r, columns).
    """

    ups: Tensor
    downs: Tensor

    def factors(self, index: int, scale: float) -> Factors:
        """One entry, as views."""
        return Factors(self.ups[index].t(), self.downs[index], scale, stack=self, index=index)


@dataclass(frozen=True, eq=False)
class Job:
    """One weight, as matrices: ``out = base + sum of terms``; a term is factors out of a stack, and a scale."""

    out: Tensor
    base: Tensor
    terms: Sequence[Term]


def packed(deltas: Mapping[str, Delta], device: torch.device) -> dict[str, Delta]:
    """The deltas on a device, out of their file; plain low-rank ones of equal shape and dtype in one `Stack`."""
    alike: dict[tuple[object, ...], list[str]] = {}
    out: dict[str, Delta] = {}
    for target, delta in deltas.items():
        if (term := delta.single) is None:
            out[target] = delta.to(device)
            continue
        alike.setdefault((*term.up.shape, term.down.shape[1], term.up.dtype, term.down.dtype), []).append(target)
    for targets in alike.values():
        terms = [deltas[target].factors[0] for target in targets]
        ups = torch.stack([term.up for term in terms]).to(device).transpose(1, 2).contiguous()
        stack = Stack(ups, torch.stack([term.down for term in terms]).to(device))
        for index, (target, term) in enumerate(zip(targets, terms, strict=True)):
            placed = term.measured_as(stack.factors(index, term.scale))
            out[target] = Delta(deltas[target].shape, factors=[placed])
    return {target: out[target] for target in deltas}


def write_all(jobs: Sequence[Job]) -> None:
    """Do the jobs: factors scaled in float32 and rounded once to the base's dtype, then one product a weight, which is
    added to a copy of the base's.
    """
    if jobs:
        torch._foreach_copy_([job.out for job in jobs], [job.base for job in jobs])
    alike: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.base.dtype, *[id(term.stack) for term, _ in job.terms]), []).append(job)
    for some in alike.values():
        some.sort(key=lambda job: job.terms[0][0].index)
        ups, downs = _side_by_side(some)
        for job, up, down in zip(some, ups, downs, strict=True):
            job.out.addmm_(up, down)


def _side_by_side(jobs: Sequence[Job]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Up factors (rows, R) and down factors (R, columns) of every job, R being all ranks; the stacks are the same."""
    first = jobs[0]
    rank = sum(term.down.shape[0] for term, _ in first.terms)
    (rows, columns), dtype, device = first.base.shape, first.base.dtype, first.base.device
    up = torch.empty(len(jobs), rank, rows, dtype=dtype, device=device)
    down = torch.empty(len(jobs), rank, columns, dtype=dtype, device=device)
    at = 0
    for place, (term, _) in enumerate(first.terms):
        stack, end = term.stack, at + term.down.shape[0]
        assert stack is not None
        chosen = _chosen([job.terms[place][0].index for job in jobs], stack.ups.device)
        scales = [job.terms[place][1] for job in jobs]
        _scaled(stack.ups[chosen], scales, up[:, at:end])
        down[:, at:end].copy_(stack.downs[chosen])
        at = end
    return up.transpose(1, 2).unbind(0), down.unbind(0)


def _chosen(indices: list[int], device: torch.device) -> slice | Tensor:
    """Entries of a stack: a slice, which copies nothing, wherever they follow each other."""
    if indices == list(range(indices[0], indices[0] + len(indices))):
        return slice(indices[0], indices[0] + len(indices))
    return torch.tensor(indices, device=device)


def _scaled(ups: Tensor, scales: list[float], out: Tensor) -> None:
    if ups.dtype != out.dtype:
        ups = ups.to(torch.float32)
    if len(set(scales)) == 1:
        torch.mul(ups, scales[0], out=out)  # torch multiplies half precision in float32
    else:
        torch.mul(ups, torch.tensor(scales, device=ups.device)[:, None, None], out=out)
