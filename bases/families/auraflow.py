"""AuraFlow, and Pony V7 which is built on it."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

AURAFLOW = family(
    Family(
        name="auraflow",
        architecture="auraflow",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=50,
        guidance=3.5,
        prediction="flow",
        prompt_limit=256,
        memory=MemoryPolicy(dtype="float16"),
    )
)
variant(
    AURAFLOW, "pony_v7", "pony",
    sizes=sizes((1024, 1024), (1536, 1536), (1280, 1024), (1024, 1280), (1536, 1024), (1024, 1536)),
    steps=40, quality_words="score_9", memory=MemoryPolicy(dtype="bfloat16"),
)  # fmt: skip
