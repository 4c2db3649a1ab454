"""Stable Diffusion 2.x: the base of 512 pixels, the one of 768 that predicts velocity, and SD-Turbo."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

SD21 = family(
    Family(
        name="sd21",
        architecture="sd21",
        sizes=sizes((512, 512), (512, 768), (768, 512)),
        guidance=7.5,
        prediction="epsilon",
        prompt_limit=77,
        memory=MemoryPolicy(dtype="float16"),
    )
)
variant(SD21, "sd21_v", "v", sizes=sizes((768, 768), (640, 896), (896, 640)), prediction="v_prediction")
variant(
    SD21, "sd_turbo", "turbo",
    sizes=sizes((512, 512)), sampler="euler_sgm_uniform", steps=2, guidance=0.0, guidance_kind="none",
    negative_prompt=False,
)  # fmt: skip
