"""Weighted sums of deltas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import PlanError
from .method import MergeMethod, Params, Part, Whole, register

if TYPE_CHECKING:
    from ..deltas.delta import Delta


class LinearParams(Params):
    normalize: Literal["none", "sum", "softmax"] = "none"
    """``sum``: weights divided by their sum. ``softmax``: exp(w_i) / sum exp(w_j), DiffGraph paper, merging stage."""


@register
class Linear(MergeMethod[LinearParams]):
    """Task arithmetic: ``dW = sum_i w_i dW_i`` (Ilharco et al. 2022, section 3), for any kinds of experts."""

    name = "linear"
    reference_url = "https://arxiv.org/abs/2212.04089"
    rowwise = sums = low_rank = True
    Params: ClassVar[type[Params]] = LinearParams

    def weights(self, experts: Sequence[Whole]) -> list[float]:
        given = [expert.weight for expert in experts]
        if self.params.normalize == "none" or not given:
            return given
        if self.params.normalize == "softmax":
            top = max(given)
            given = [math.exp(weight - top) for weight in given]
        total = math.fsum(given)
        if total == 0.0:
            raise PlanError("the weights of the plan add up to 0, so they cannot be normalised by their sum")
        return [weight / total for weight in given]

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        from ..deltas.delta import add

        return add([part.delta for part in parts], [part.weight for part in parts])


@register
class ConcatSum(MergeMethod[Params]):
    """The exact sum of LoRAs as one LoRA: ``[w_1 B_1, w_2 B_2, …] [A_1; A_2; …]``, of rank ``sum r_i``.

    The same numbers as `Linear` without normalisation, but it refuses full-rank experts, so the result is always a
    LoRA that can be exported (PEFT calls this combination type "cat").
    """

    name = "concat_sum"
    reference_url = "https://huggingface.co/docs/peft/developer_guides/lora#merge-lora-weights-into-the-base-model"
    sums = low_rank = True

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        from ..deltas.delta import add

        if any(part.delta.full is not None and part.delta.matrix_shape[1] > 1 for part in parts):
            raise PlanError("concat_sum stacks LoRA factors, but the plan has a full-rank expert; use linear")
        return add([part.delta for part in parts], [part.weight for part in parts])
