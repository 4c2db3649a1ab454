"""FLUX.2: dev with distilled guidance, Klein distilled to four steps, and the Klein base that is not distilled."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

FLUX2 = family(
    Family(
        name="flux2",
        architecture="flux2",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        steps=28,
        guidance=4.0,
        guidance_kind="distilled",
        negative_prompt=False,
        prediction="flow",
        prompt_limit=512,
        languages=("en", "de", "fr", "es", "it", "pt", "ru", "ja", "zh"),
        memory=MemoryPolicy(dtype="bfloat16"),
    )
)
variant(FLUX2, "flux2_klein", "klein", steps=4, guidance=1.0, guidance_kind="none")
variant(FLUX2, "flux2_klein_base", "klein-base", steps=50, guidance_kind="cfg", negative_prompt=True)
