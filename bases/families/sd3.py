"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

SD3 = family(
    Family(
        name="sd3",
        architecture="sd3",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=28,
        guidance=7.0,
        prediction="flow",
        prompt_limit=256,
        memory=MemoryPolicy(dtype="float16"),
    )
)
_BF16 = MemoryPolicy(dtype="bfloat16")
variant(SD3, "sd35_medium", "3.5-medium", steps=40, guidance=4.5, memory=_BF16)
variant(SD3, "sd35_large", "3.5-large", guidance=3.5, memory=_BF16)
variant(
    SD3, "sd35_large_turbo", "3.5-large-turbo",
    steps=4, guidance=0.0, guidance_kind="none", negative_prompt=False, memory=_BF16,
)  # fmt: skip
