"""Which sizes a base can draw: sides that are multiples of a number. No torch."""

from __future__ import annotations

import math


def fitting(side: int, multiple: int) -> int:
    """The nearest side that is a multiple, at least one."""
    return max(multiple, (side + multiple // 2) // multiple * multiple)


def size_sentence(width: int | None, height: int | None, multiple: int) -> str:
    """Why a size cannot be drawn, with the nearest that can."""
    named = [(name, side) for name, side in (("width", width), ("height", height)) if side is not None]
    if len(named) == 2:
        asked = f"the size {width}x{height}"
        nearest = "x".join(str(fitting(side, multiple)) for _, side in named)
    else:
        asked = f"the {named[0][0]} {named[0][1]}"
        nearest = str(fitting(named[0][1], multiple))
    return f"{asked} cannot be drawn: width and height must be multiples of {multiple} for this base; nearest {nearest}"


def area_size(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """The size that a pipeline which draws one area only makes of another."""
    scale = math.sqrt(area / (width * height))
    return int(width * scale // multiple * multiple), int(height * scale // multiple * multiple)
