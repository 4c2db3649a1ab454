"""Kolors: the UNet of SDXL that reads ChatGLM; prompts in Chinese and English."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes

family(
    Family(
        name="kolors",
        architecture="kolors",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=50,
        guidance=5.0,
        prediction="epsilon",
        prompt_limit=256,
        languages=("zh", "en"),
        memory=MemoryPolicy(dtype="float16"),
    )
)
