"""LoHa: the Hadamard product of two low-rank matrices, ``delta = scale * (w1_a w1_b) ∘ (w2_a w2_b)``.

The product of ranks r and s has rank at most r s, with the Khatri-Rao products of the factors as its factors; so it is
kept as factors where that is smaller. A tucker core t (r, r, kh, kw) makes ``w_aᵀ (t w_b)``, with w_a (r, out) and w_b
(r, in) (FedPara, https://arxiv.org/abs/2108.06098; LyCORIS, https://arxiv.org/abs/2309.14859).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from .algorithm import Algorithm, Inputs, Module, Sizes, Update, is_low_rank, register

if TYPE_CHECKING:
    from torch import Tensor

_PAIRS = (("hada_w1_a", "hada_w1_b", "hada_t1"), ("hada_w2_a", "hada_w2_b", "hada_t2"))


@register
class LoHa(Algorithm):
    name = "loha"
    kind = "loha"
    reference_url = "https://arxiv.org/abs/2108.06098"
    precedence = 10
    peft_type = "LOHA"
    parts = MappingProxyType({name: name for pair in _PAIRS for name in pair})

    def rank(self, module: Module) -> int | None:
        return next(iter(module.shape("hada_w1_b")), None) if "hada_w1_b" in module.roles else None

    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        if missing := {n for a, b, _ in _PAIRS for n in (a, b)} - set(module.roles):
            raise module.error(f"has only part of the factors of {module.name}; it lacks {', '.join(sorted(missing))}")
        (rows, columns, rank), second = (_pair(module, *pair) for pair in _PAIRS)
        if second[:2] != (rows, columns):
            raise module.error(f"has two factor pairs of different shapes: {(rows, columns)} and {second[:2]}")
        return Sizes(rows, columns, rank)

    def update(self, module: Module, inputs: Inputs) -> Update:
        (up1, down1), (up2, down2) = (_factors(inputs.tensors, *pair) for pair in _PAIRS)
        rows, columns, rank = up1.shape[0], down1.shape[1], up1.shape[1] * up2.shape[1]
        up1 = up1 * inputs.scale
        if not is_low_rank(rank, rows, columns):
            return Update(full=(up1 @ down1) * (up2 @ down2))
        up = (up1.unsqueeze(2) * up2.unsqueeze(1)).reshape(rows, rank)
        return Update(up, (down1.unsqueeze(1) * down2.unsqueeze(0)).reshape(rank, columns))


def _pair(module: Module, a: str, b: str, t: str) -> tuple[int, int, int]:
    """(rows, columns, rank) of one of the two products."""
    first, second = module.shape(a), module.shape(b)
    core = module.shape(t) if t in module.roles else None
    if len(first) != 2 or len(second) < 2 or 0 in first or 0 in second:
        raise module.error(f"has rank 0 or factors of shapes {first} and {second}, which are no LoHa")
    if core is None:
        if first[1] != second[0]:
            raise module.error(f"has factors of different rank: {first} and {second}")
        return first[0], math.prod(second[1:]), second[0]
    if len(core) < 3 or core[:2] != (first[0], second[0]) or len(second) != 2 or 0 in core:
        raise module.error(f"has a tucker core {core} that does not fit {first} and {second}")
    return first[1], second[1] * math.prod(core[2:]), second[0]


def _factors(tensors: Mapping[str, Tensor], a: str, b: str, t: str) -> tuple[Tensor, Tensor]:
    import torch

    if t not in tensors:
        return tensors[a], tensors[b].flatten(1)
    return tensors[a].T, torch.einsum("ij...,jc->ic...", tensors[t], tensors[b]).flatten(1)
