"""HiDream-I1: Full with guidance, Dev and Fast distilled."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

HIDREAM = family(
    Family(
        name="hidream",
        architecture="hidream",
        sizes=sizes((1024, 1024), (1360, 768), (768, 1360), (1168, 880), (880, 1168), (1248, 832), (832, 1248)),
        steps=50,
        guidance=5.0,
        prediction="flow",
        prompt_limit=128,
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
_DISTILLED = {"guidance": 0.0, "guidance_kind": "none", "negative_prompt": False}
variant(HIDREAM, "hidream_dev", "dev", steps=28, **_DISTILLED)
variant(HIDREAM, "hidream_fast", "fast", steps=16, **_DISTILLED)
