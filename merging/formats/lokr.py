"""LoKr: a Kronecker product, ``delta = scale * w1 ⊗ w2``, either factor whole or itself a product of low rank.

``(u1 v1) ⊗ (u2 v2) = (u1 ⊗ u2)(v1 ⊗ v2)``: with a thin factor on either side the delta has low rank and is kept so
where that is smaller. w2 of a convolution is (b, d, kh, kw), or w2_a (b, r) w2_b (r, d kh kw), or with a tucker core t2
(r, r, kh, kw), w2_a (r, b) and w2_b (r, d). In LyCORIS alpha has no say where both factors are whole; in PEFT it has
(LyCORIS, https://arxiv.org/abs/2309.14859; KronA, https://arxiv.org/abs/2212.10650).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from .algorithm import Algorithm, Inputs, Module, Sizes, Update, is_low_rank, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class LoKr(Algorithm):
    name = "lokr"
    kind = "lokr"
    reference_url = "https://arxiv.org/abs/2309.14859"
    precedence = 20
    peft_type = "LOKR"
    parts = MappingProxyType({f"lokr_{n}": f"lokr_{n}" for n in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")})

    def rank(self, module: Module) -> int | None:
        ranks = [module.shape(f"lokr_{n}")[:1] for n in ("w1_b", "w2_b") if f"lokr_{n}" in module.roles]
        return next((rank[0] for rank in ranks if rank), None)

    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        a, c = _matrix(module, "lokr_w1")
        b, d = _matrix(module, "lokr_w2")
        return Sizes(a * b, c * d, self.rank(module))

    def update(self, module: Module, inputs: Inputs) -> Update:
        import torch

        (up1, down1), (up2, down2) = (_factors(inputs.tensors, f"lokr_w{n}") for n in (1, 2))
        up1 = up1 * inputs.scale
        rows, columns = up1.shape[0] * up2.shape[0], down1.shape[1] * down2.shape[1]
        if is_low_rank(up1.shape[1] * up2.shape[1], rows, columns):
            return Update(torch.kron(up1, up2).contiguous(), torch.kron(down1, down2).contiguous())
        return Update(full=torch.kron(up1 @ down1, up2 @ down2))


def _matrix(module: Module, name: str) -> tuple[int, int]:
    """(rows, columns) of a Kronecker factor, by shapes."""
    whole, halves = name in module.roles, [f"{name}_a" in module.roles, f"{name}_b" in module.roles]
    core = module.shape("lokr_t2") if name == "lokr_w2" and "lokr_t2" in module.roles else None
    if whole + all(halves) != 1 or whole + any(halves) != 1 or (whole and core is not None):
        raise module.error(f"has neither {name} alone nor both of {name}_a and {name}_b for {module.name}")
    shapes = [module.shape(name)] if whole else [module.shape(f"{name}_a"), module.shape(f"{name}_b")]
    if any(len(shape) < 2 or 0 in shape for shape in shapes) or (core is not None and 0 in core):
        raise module.error(f"has rank 0 or factors of shapes {shapes}, which are no LoKr")
    if whole:
        return shapes[0][0], math.prod(shapes[0][1:])
    first, second = shapes
    if core is not None:
        if len(core) < 3 or core[:2] != (first[0], second[0]) or len(first) != 2 or len(second) != 2:
            raise module.error(f"has a tucker core {core} that does not fit {first} and {second}")
        return first[1], second[1] * math.prod(core[2:])
    if len(first) != 2 or first[1] != second[0]:
        raise module.error(f"has factors of different rank: {first} and {second}")
    return first[0], math.prod(second[1:])


def _factors(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """(up, down) of a Kronecker factor; a whole one is split into itself and an identity on its thinner side."""
    import torch

    if name in tensors:
        whole = tensors[name].flatten(1)
        rows, columns = whole.shape
        return (whole, torch.eye(columns)) if columns <= rows else (torch.eye(rows), whole)
    first, second = tensors[f"{name}_a"], tensors[f"{name}_b"]
    if name == "lokr_w2" and "lokr_t2" in tensors:
        return first.T, torch.einsum("ij...,jc->ic...", tensors["lokr_t2"], second).flatten(1)
    return first, second.flatten(1)
