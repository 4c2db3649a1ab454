"""Sana, by the side of the images it was trained on, and Sana-Sprint."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

SANA = family(
    Family(
        name="sana",
        architecture="sana",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=20,
        guidance=4.5,
        prediction="flow",
        prompt_limit=300,
        languages=("en", "zh"),
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
variant(SANA, "sana_512", "512", sizes=sizes((512, 512), (576, 448), (448, 576)))
variant(SANA, "sana_2k", "2k", sizes=sizes((2048, 2048), (2304, 1792), (1792, 2304)))
variant(SANA, "sana_4k", "4k", sizes=sizes((4096, 4096), (4608, 3584), (3584, 4608)))
variant(SANA, "sana_sprint", "sprint", steps=2, guidance_kind="distilled", negative_prompt=False, prediction="")
