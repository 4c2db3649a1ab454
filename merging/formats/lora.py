"""LoRA on linear layers and convolutions, with LoCon's tucker core: ``delta = scale * up @ down``.

A convolution's down factor (r, in, kh, kw) is seen as (r, in kh kw); a tucker ``mid`` (r, r, kh, kw) is folded into it
(https://arxiv.org/abs/2106.09685; LyCORIS, https://arxiv.org/abs/2309.14859).
"""

from __future__ import annotations

import math
import re
from types import MappingProxyType

from .algorithm import Algorithm, Inputs, Module, Sizes, Update, register

_PROCESSOR = re.compile(
    r"^(?P<module>.+?)\.(?:processor\.)?(?P<projection>to_q|to_k|to_v|to_out)_lora\.(?P<part>down|up)\.weight$"
)
"""Attention processors of diffusers before 0.20."""
_NAMES = (
    {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"},
    {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
)
"""What its projections are called in a denoiser, and in a text encoder."""
_XLABS = re.compile(r"^(?P<module>.+\.processor\.(?:qkv|proj)_lora[12]?)\.(?P<part>down|up)\.weight$")


@register
class LoRA(Algorithm):
    name = "lora"
    kind = "lora"
    reference_url = "https://arxiv.org/abs/2106.09685"
    precedence = 40
    peft_type = "LORA"
    low_rank = True
    parts = MappingProxyType(
        dict.fromkeys(("lora_A", "lora_down", "lora.down", "lora_linear_layer.down"), "down")
        | dict.fromkeys(("lora_B", "lora_up", "lora.up", "lora_linear_layer.up"), "up")
        | {"lora_mid": "mid"}
    )

    def alias(self, key: str) -> tuple[str, str] | None:
        if found := _PROCESSOR.match(key):
            projection = _NAMES[found["module"].endswith("self_attn")][found["projection"]]
            return f"{found['module']}.{projection}", found["part"]
        if found := _XLABS.match(key):
            return found["module"], found["part"]
        return None

    @classmethod
    def kinds(cls) -> frozenset[str]:
        return frozenset(("lora", "locon", "dora"))

    def file_kind(self, modules: list[Module]) -> str:
        if any("magnitude" in module.roles for module in modules):
            return "dora"
        down = [(module.roles["down"], module.shape("down")) for module in modules if "down" in module.roles]
        return "locon" if any(".lora_down." in key and math.prod(shape[2:]) > 1 for key, shape in down) else "lora"

    def rank(self, module: Module) -> int | None:
        return next(iter(module.shape("down")), None) if "down" in module.roles else None

    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        if not {"up", "down"} <= set(module.roles):
            raise module.error(f"has only one half of the factors of {module.name}")
        up, down = module.shape("up"), module.shape("down")
        mid = module.shape("mid") if "mid" in module.roles else None
        if len(up) < 2 or len(down) < 2 or math.prod(up[2:]) != 1:
            raise module.error(f"has factors of shapes {up} and {down}, which are no LoRA")
        rank = down[0]
        if rank == 0 or 0 in up or 0 in down:
            raise module.error("has rank 0 or an empty factor")
        columns = math.prod(down[1:])
        if mid is not None:
            if len(mid) < 3 or mid[1] != down[0] or math.prod(down[2:]) != 1 or 0 in mid:
                raise module.error(f"has a tucker core {mid} that does not fit {down}")
            rank, columns = mid[0], down[1] * math.prod(mid[2:])
        if up[1] != rank:
            raise module.error(f"has factors of different rank: {up} and {down}")
        return Sizes(up[0], columns, rank)

    def plain(self, module: Module) -> bool:
        return True

    def update(self, module: Module, inputs: Inputs) -> Update:
        import torch

        up, down = inputs.tensors["up"].flatten(1) * inputs.scale, inputs.tensors["down"]
        if "mid" in inputs.tensors:
            down = torch.einsum("rs...,si->ri...", inputs.tensors["mid"], down.flatten(1))
        return Update(up.contiguous(), down.flatten(1).contiguous())
