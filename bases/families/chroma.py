"""Chroma: FLUX.1 schnell with the guidance taken out again, so negative prompts act."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

CHROMA = family(
    Family(
        name="chroma",
        architecture="chroma",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=40,
        guidance=3.0,
        prediction="flow",
        prompt_limit=512,
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
variant(
    CHROMA, "chroma_flash", "flash",
    sampler="heun", steps=8, guidance=1.0, guidance_kind="none", negative_prompt=False,
)  # fmt: skip
