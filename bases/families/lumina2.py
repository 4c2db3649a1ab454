"""Lumina-Image 2.0."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes

family(
    Family(
        name="lumina2",
        architecture="lumina2",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=50,
        guidance=4.0,
        prediction="flow",
        prompt_limit=256,
        languages=("en", "zh"),
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
