"""Names of Stable Diffusion's UNet in its original code (CompVis/latent-diffusion, Stability-AI/generative-models).

The numbering depends on how many blocks and layers there are, so the names are built from the modules at hand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

_OUTSIDE = MappingProxyType(
    {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
)
_RESNET = MappingProxyType(
    {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
_BLOCK = re.compile(r"^(?P<where>down|up)_blocks\.(?P<block>\d+)\.(?P<what>resnets|attentions)\.(?P<layer>\d+)\.")


def unet_names(modules: Collection[str]) -> Mapping[str, str]:
    """Our name of a UNet's module -> its original name; empty if ``modules`` are no such UNet's."""
    if "conv_norm_out" not in modules or "mid_block.resnets.0.conv1" not in modules:
        return {}
    out = {ours: name for ours, name in _OUTSIDE.items() if ours in modules}
    layers: dict[str, int] = {"down": 0, "up": 0}
    attended: set[tuple[str, str]] = set()
    for module in modules:
        if found := _BLOCK.match(module):
            layers[found["where"]] = max(layers[found["where"]], int(found["layer"]) + 1)
            if found["what"] == "attentions":
                attended.add((found["where"], found["block"]))
    for module in modules:
        if (name := _inside(module, layers, attended)) is not None:
            out[module] = name
    return out


def _inside(module: str, layers: Mapping[str, int], attended: Collection[tuple[str, str]]) -> str | None:
    """The original name of a module inside a block.

    A block of n layers takes n + 1 numbers on the way down: the last is its downsampler. On the way up it takes n, and
    its upsampler follows the last layer's own parts.
    """
    words = module.split(".")
    if words[0] == "mid_block":
        number = 2 * int(words[2]) if words[1] == "resnets" else 1
        return _part(f"middle_block.{number}", words[1], ".".join(words[3:]))
    if words[0] not in ("down_blocks", "up_blocks"):
        return None
    where, block, what, layer = words[0][: -len("_blocks")], int(words[1]), words[2], int(words[3])
    rest = ".".join(words[4:])
    if where == "down":
        start = 1 + block * (layers["down"] + 1)
        if what == "downsamplers":
            return f"input_blocks.{start + layers['down']}.0.op"
        return _part(f"input_blocks.{start + layer}.{int(what == 'attentions')}", what, rest)
    start = block * layers["up"]
    if what == "upsamplers":
        return f"output_blocks.{start + layers['up'] - 1}.{2 if ('up', words[1]) in attended else 1}.conv"
    return _part(f"output_blocks.{start + layer}.{int(what == 'attentions')}", what, rest)


def _part(prefix: str, what: str, rest: str) -> str | None:
    if what == "attentions":
        return f"{prefix}.{rest}"  # a Transformer2D has the same names in both
    return f"{prefix}.{_RESNET[rest]}" if rest in _RESNET else None
