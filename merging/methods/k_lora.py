"""K-LoRA: at each layer the one expert whose strongest values are strongest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .method import MergeMethod, Params, Part, register
from .np_lora import row_space

if TYPE_CHECKING:
    from torch import Tensor

    from ..deltas.delta import Delta


class KLoraParams(Params):
    top: int | None = Field(default=None, ge=1)
    """K, how many values of each delta count. None is the paper's product of the ranks, r_a r_b, for two experts; for
    n the square of the geometric mean of the ranks."""
    balance: bool = True
    """Divide each expert's score by the norm of the whole expert, so that none wins for being trained harder. The
    paper's gamma does that by sums of magnitudes; the norm is had without forming a full-size matrix."""
    style_factor: float = Field(default=1.0, ge=0.0)
    """The paper's S (eq. 6): a factor on the scores of styles. A ramp over the sampling steps that lets it grow (plan:
    ``{"kind": "ramp", "params": {"style_factor": [0.5, 1.5]}}``) has the subject win early and the style late."""


@register
class KLora(MergeMethod[KLoraParams]):
    """Ouyang et al. 2025, eq. 3 to 6; the ramp over the sampling steps is a plan's schedule over ``style_factor``.

    ``dW = w_c d_c`` with ``c = argmax_i f_i |w_i| S_i / n_i``, where ``S_i`` is the sum of the K largest magnitudes of
    d_i, n_i the norm of the expert over all its targets, and f_i ``style_factor`` for styles, 1 for the rest. A draw
    goes to the expert whose sha256 comes first. Facets play a part only where ``style_factor`` is not 1.
    """

    name = "k_lora"
    reference_url = "https://arxiv.org/abs/2502.18461"
    Params: ClassVar[type[Params]] = KLoraParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        chosen = parts[strongest(self.scores(parts))]
        return chosen.delta.scaled(chosen.weight)

    def scores(self, parts: Sequence[Part]) -> list[float]:
        """``f_i |w_i| S_i / n_i`` for each part at one target; not balanced if the parameters say so."""
        top = self.params.top or common_top([part.delta for part in parts])
        factors = [self.params.style_factor if part.facet == "style" else 1.0 for part in parts]
        scores = [
            factor * abs(part.weight) * top_magnitude(part.delta.matrix(), top)
            for factor, part in zip(factors, parts, strict=True)
        ]
        if not self.params.balance:
            return scores
        norms = [part.expert_norm() for part in parts]
        return [score / norm if norm > 0.0 else 0.0 for score, norm in zip(scores, norms, strict=True)]


def strongest(scores: Sequence[float]) -> int:
    """Index of the largest score; the first of equals."""
    return max(range(len(scores)), key=lambda index: (scores[index], -index))


def top_magnitude(matrix: Tensor, top: int) -> float:
    """Sum of the ``top`` largest magnitudes, added up in float64."""
    import torch

    wide = torch.float32 if matrix.device.type == "mps" else torch.float64
    return float(matrix.abs().flatten().topk(min(top, matrix.numel())).values.to(wide).sum())


def common_top(deltas: Sequence[Delta]) -> int:
    """K for experts of given (numerical) ranks: the square of their geometric mean, r_a r_b for two."""
    ranks = [max(1, row_space(delta).shape[1]) for delta in deltas]
    return round(math.exp(2.0 * math.fsum(map(math.log, ranks)) / len(ranks)))
