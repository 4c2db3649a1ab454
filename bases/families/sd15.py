"""Stable Diffusion 1.x and its fine-tunes."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

SD15 = family(
    Family(
        name="sd15",
        architecture="sd15",
        sizes=sizes((512, 512), (512, 768), (768, 512), (640, 512), (512, 640)),
        guidance=7.5,
        prediction="epsilon",
        prompt_limit=77,
        memory=MemoryPolicy(dtype="float16"),
    )
)
# Fused into fine-tunes, consistency models want little guidance; under 1 a negative prompt could not act.
variant(SD15, "sd15_lcm", "lcm", sampler="lcm", steps=8, guidance=1.5)
variant(
    SD15, "sd15_hyper", "hyper",
    sampler="ddim_sgm_uniform", steps=8, guidance=1.0, guidance_kind="none", negative_prompt=False,
)  # fmt: skip
variant(SD15, "sd15_v", "v", prediction="v_prediction", zero_terminal_snr=True, sampler="euler")
