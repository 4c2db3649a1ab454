"""A weight that a file gives outright, not as a difference: its delta is what it is minus the base's.

ComfyUI writes ``.set_weight``; adapters by Black Forest Labs hold the scales of norms so (``…key_norm.scale``).
"""

from __future__ import annotations

import math
import re
from types import MappingProxyType

from .algorithm import Algorithm, Inputs, Module, Sizes, Update, register

_NORM = re.compile(r"^(?P<module>.+\.(?:query|key)_norm)\.scale$")


@register
class SetWeight(Algorithm):
    name = "set_weight"
    kind = "full"
    reference_url = "https://github.com/Comfy-Org/ComfyUI"
    precedence = 95
    relative = True
    parts = MappingProxyType({"set_weight": "weight_itself"})

    def alias(self, key: str) -> tuple[str, str] | None:
        found = _NORM.match(key)
        return None if found is None else (found["module"], "weight_itself")

    def shows_adapter(self, module: Module) -> bool:
        return module.roles["weight_itself"].endswith(".set_weight")

    def rank(self, module: Module) -> int | None:
        return None

    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        if "alpha" in module.roles:
            raise module.error(f"has an alpha beside the weight of {module.name} itself: not understood")
        shape = module.shape("weight_itself")
        if not shape or 0 in shape:
            raise module.error("has a weight without values")
        return Sizes(shape[0], math.prod(shape[1:]), None)

    def update(self, module: Module, inputs: Inputs) -> Update:
        weight = inputs.tensors["weight_itself"]
        return Update(full=weight.reshape(weight.shape[0], -1) - inputs.base())
