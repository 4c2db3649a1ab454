"""Model Stock: how far to trust the average of experts, from the angle between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .method import MergeMethod, Params, Part, register

if TYPE_CHECKING:
    from ..deltas.delta import Delta


@register
class ModelStock(MergeMethod[Params]):
    """Jang et al. 2024, eq. 2 and 6, on task vectors of one target::

        dW = t / N sum_i w_i d_i,    t = N cos / (1 + (N - 1) cos)

    with cos the mean cosine over pairs of the w_i d_i: the point nearest the base on the plane through the experts,
    if all were samples around one centre. It is made for fine-tunes of one task. Experts for different things are
    nearly orthogonal, so t is near 0 and little is left of them: that is the method's verdict, not a fault. A
    negative cosine, for which the paper has no case, counts as 0, and a delta of 0 as absent.
    """

    name = "model_stock"
    reference_url = "https://arxiv.org/abs/2403.19522"
    Params: ClassVar[type[Params]] = Params

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        from ..deltas.delta import add

        norms = [part.delta.norm() for part in parts]
        present = [(part, norm) for part, norm in zip(parts, norms, strict=True) if norm > 0.0]
        count = len(present)
        if count < 2:
            return add([part.delta for part in parts], [part.weight for part in parts])
        cosines = [
            math.copysign(1.0, a.weight) * math.copysign(1.0, b.weight) * a.delta.inner(b.delta) / (m * n)
            for (a, m), (b, n) in itertools.combinations(present, 2)
        ]
        cosine = max(0.0, math.fsum(cosines) / len(cosines))
        ratio = count * cosine / (1.0 + (count - 1) * cosine)
        return add([part.delta for part, _ in present], [part.weight * ratio / count for part, _ in present])
