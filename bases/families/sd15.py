"""Stable Diffusion 1.x and its fine-tunes."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy, Size
from . import family

family(
    Family(
        name="sd15",
        architecture="sd15",
        sizes=(Size(width=512, height=512),),
        guidance=7.5,
        prompt_limit=77,
        memory=MemoryPolicy(dtype="float16"),
    )
)
