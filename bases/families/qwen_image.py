"""Qwen-Image: guidance is a second pass (``true_cfg_scale``); prompts in English and Chinese."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

QWEN_IMAGE = family(
    Family(
        name="qwen_image",
        architecture="qwen_image",
        sizes=sizes((1328, 1328), (1664, 928), (928, 1664), (1472, 1104), (1104, 1472), (1584, 1056), (1056, 1584)),
        steps=50,
        guidance=4.0,
        prediction="flow",
        prompt_limit=512,
        languages=("en", "zh"),
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
variant(
    QWEN_IMAGE, "qwen_image_lightning", "lightning",
    steps=8, guidance=1.0, guidance_kind="none", negative_prompt=False,
)  # fmt: skip
