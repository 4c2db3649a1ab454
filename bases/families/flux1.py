"""FLUX.1: guidance is distilled into the weights, so there is no negative prompt."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

FLUX1 = family(
    Family(
        name="flux1",
        architecture="flux1",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=28,
        guidance=3.5,
        guidance_kind="distilled",
        negative_prompt=False,
        prediction="flow",
        prompt_limit=512,
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
variant(FLUX1, "flux1_schnell", "schnell", steps=4, guidance=0.0, guidance_kind="none", prompt_limit=256)
variant(FLUX1, "flux1_kontext", "kontext", guidance=2.5)
variant(FLUX1, "flux1_krea", "krea", guidance=4.5)
variant(FLUX1, "flux1_hyper", "hyper", steps=8)
