"""KnOTS: bring the experts into one basis by SVD, then merge there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .method import Params, Part, register
from .span import BatchedMethod, Span, significant, weighted
from .ties import Divide, Vote, disjoint, trim

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta


class KnotsParams(Params):
    inner: Literal["ties", "linear"] = "ties"
    """How the aligned experts are merged. ``linear`` equals the plain sum, as the alignment is lossless."""
    density: float = Field(default=0.5, gt=0.0, le=1.0)
    """For ``ties``: share of each expert's aligned values that survive the trim."""
    vote: Vote = "total"
    divide: Divide = "count"
    fold: bool = True
    """Merge ``S V_i``, as the authors' code does. False merges the bare V_i, in which strong and weak directions trim
    alike, and multiplies by S afterwards."""
    scale: float = 1.0
    """A factor on the result."""


@register
class Knots(BatchedMethod[KnotsParams]):
    """Stoica et al. 2024, section 3: ``[w_1 dW_1 … w_n dW_n] = U S [V_1 … V_n]``, ``dW = U merge(S V_1, …, S V_n)``.

    The wide SVD is that of a small core: with the stacked factors in their `Span`, ``[C_1 … C_n]`` has the same U and
    S turned by the left basis, and its V_i are turned back by the right one. Of full size are only the V_i, (rank,
    columns) each.
    """

    name = "knots"
    reference_url = "https://arxiv.org/abs/2410.19735"
    Params: ClassVar[type[Params]] = KnotsParams

    def combine_batch(self, groups: Sequence[Sequence[Part]]) -> list[Delta]:
        import torch

        shape = groups[0][0].delta.shape
        span = Span.of([[part.delta for part in parts] for parts in groups], double=True)
        cores = weighted(span.cores, groups)
        u, s, vh = torch.linalg.svd(cores.movedim(-3, -2).flatten(-2), full_matrices=False)
        out = []
        for index, values in enumerate(s):
            rank = max(1, int(significant(values).sum()))
            left = None if span.left is None else span.left[index]
            right = None if span.right is None else span.right[index]
            aligned = vh[index, :rank].unflatten(-1, (len(groups[0]), -1)).unbind(dim=1)
            out.append(self._merged(left, u[index, :, :rank], values[:rank], aligned, right, shape))
        return out

    def _merged(
        self,
        left: Tensor | None,
        u: Tensor,
        s: Tensor,
        aligned: Sequence[Tensor],
        right: Tensor | None,
        shape: tuple[int, ...],
    ) -> Delta:
        import torch

        from ..deltas.delta import Delta

        p = self.params
        values = [v if right is None else v @ right.mT for v in aligned]
        if p.fold:
            values = [s[:, None] * v for v in values]
        values = [v.to(torch.float32) for v in values]
        if p.inner == "ties":
            merged = disjoint([trim(v, p.density) for v in values], [1.0] * len(values), p.vote, p.divide)
        else:
            merged = sum(values[1:], values[0])
        down = merged * p.scale if p.fold else s[:, None] * merged * p.scale
        up = (u if left is None else left @ u).to(torch.float32)
        down = down.to(torch.float32)
        return Delta(shape, full=up @ down) if left is None else Delta(shape, up, down)
