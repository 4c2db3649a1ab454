"""FLUX.1: guidance is distilled into the weights, so there is no negative prompt."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy, Size
from . import family

family(
    Family(
        name="flux1",
        architecture="flux1",
        sizes=(Size(width=1024, height=1024),),
        steps=28,
        guidance=3.5,
        guidance_kind="distilled",
        negative_prompt=False,
        prediction="flow",
        prompt_limit=512,
        memory=MemoryPolicy(dtype="bfloat16", offload="component"),
    )
)
