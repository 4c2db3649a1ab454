"""Z-Image and Z-Image-Turbo; prompts in English and Chinese."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

Z_IMAGE = family(
    Family(
        name="z_image",
        architecture="z_image",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1280, 720), (720, 1280), (1248, 832), (832, 1248)),
        steps=50,
        guidance=4.0,
        prediction="flow",
        prompt_limit=512,
        languages=("en", "zh"),
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
variant(
    Z_IMAGE, "z_image_turbo", "turbo",
    steps=9, guidance=0.0, guidance_kind="none", negative_prompt=False,
)  # fmt: skip
