"""Where a UNet lays out what stands where: its blocks of the lowest resolution. Imports no torch.

A subject's shape is decided there; a style or a scene that writes into the same blocks writes over it. B-LoRA (Frenkel
et al., arXiv 2403.14572) finds content and style of SDXL in different ones of these blocks. How much of an expert is
needed there is measured, not assumed (`tools.company`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BLOCK = re.compile(r"^(unet\.(?:down_blocks|up_blocks)\.(\d+))\.|^(unet\.mid_block)\.")


def coarse_blocks(modules: Iterable[str]) -> tuple[str, ...]:
    """Patterns (as in ``PlanExpert.blocks``) for the last down block, the middle and the first up block of a UNet.

    Args:
        modules: dotted module names with their component in front, such as ``unet.mid_block.resnets.0.conv1``.

    Returns:
        Empty for a base without such a UNet: transformers have one resolution throughout.
    """
    down, found = -1, set()
    for match in filter(None, map(_BLOCK.match, modules)):
        found.add(match[1] or match[3])
        if match[1] and ".down_blocks." in match[1]:
            down = max(down, int(match[2]))
    wanted = (f"unet.down_blocks.{down}", "unet.mid_block", "unet.up_blocks.0")
    return tuple(f"{block}.*" for block in wanted) if found.issuperset(wanted) else ()
