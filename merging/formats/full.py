"""Full-rank patches: the difference of a weight itself (``.diff``), of a norm (``.w_norm``), of a bias (``.diff_b``).

LyCORIS' ``full`` and ``norm`` algorithms, and what extraction tools write for layers that no LoRA fits. Nothing is
scaled (LyCORIS, https://arxiv.org/abs/2309.14859).
"""

from __future__ import annotations

import math
from types import MappingProxyType

from .algorithm import Algorithm, Inputs, Module, Sizes, Update, register


@register
class Full(Algorithm):
    name = "full"
    kind = "full"
    reference_url = "https://arxiv.org/abs/2309.14859"
    precedence = 90
    parts = MappingProxyType({"diff": "diff", "w_norm": "diff"})

    def rank(self, module: Module) -> int | None:
        return None

    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        if "alpha" in module.roles:
            raise module.error(f"has an alpha beside the full difference of {module.name}: not understood")
        shape = module.shape("diff")
        if not shape or 0 in shape:
            raise module.error("has a difference without values")
        return Sizes(shape[0], math.prod(shape[1:]), None)

    def update(self, module: Module, inputs: Inputs) -> Update:
        difference = inputs.tensors["diff"]
        return Update(full=difference.reshape(difference.shape[0], -1))
