"""Which sizes a base can draw: sides that are multiples of a number. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_MAX_BYTES = 2**20
"""A configuration has some kilobytes."""


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


def side_multiple(base: Path) -> int:
    """What both sides of an image must be multiples of, read off the configurations in a diffusers folder: what a pixel
    of the latents stands for, times the patch that the denoiser takes at once. 8 where they do not tell.
    """
    vae = _json(base / "vae" / "config.json")
    levels = [vae.get(name) for name in ("block_out_channels", "encoder_block_out_channels")]
    halvings = next((len(one) - 1 for one in levels if isinstance(one, list) and one), None)
    if halvings is None and isinstance(down := vae.get("temperal_downsample"), list):
        halvings = len(down)
    scale = 2 ** min(halvings if halvings is not None else 3, 8)
    denoiser = _json(base / "transformer" / "config.json")
    patch = denoiser.get("patch_size")
    if isinstance(patch, int) and 1 < patch <= 16:
        return int(scale * patch)
    # FLUX and its kin lay four latents into one channel's place before the denoiser sees them.
    taken, made = denoiser.get("in_channels"), vae.get("latent_channels")
    packed = isinstance(taken, int) and isinstance(made, int) and made > 0 and taken == 4 * made
    return int(scale * 2 if packed else scale)


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
