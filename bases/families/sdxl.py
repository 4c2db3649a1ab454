"""Stable Diffusion XL and its fine-tunes."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy, Size
from . import family

family(
    Family(
        name="sdxl",
        architecture="sdxl",
        sizes=(
            Size(width=1024, height=1024),
            Size(width=1152, height=896),
            Size(width=896, height=1152),
            Size(width=1216, height=832),
            Size(width=832, height=1216),
            Size(width=1344, height=768),
            Size(width=768, height=1344),
        ),
        guidance=5.0,
        prompt_limit=77,
        memory=MemoryPolicy(dtype="float16", offload="component"),
    )
)
