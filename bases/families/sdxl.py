"""Stable Diffusion XL, what was distilled from it, and the great fine-tunes that others build on."""

from __future__ import annotations

from ..profile import Family, MemoryPolicy
from . import family, sizes, variant

SDXL = family(
    Family(
        name="sdxl",
        architecture="sdxl",
        sizes=sizes((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
        guidance=5.0,
        prediction="epsilon",
        prompt_limit=77,
        memory=MemoryPolicy(dtype="float16"),
    )
)

# Distilled in steps: guidance was trained away, and the steps must end where the teacher's do.
_DISTILLED = {"guidance_kind": "none", "negative_prompt": False}
variant(
    SDXL, "sdxl_turbo", "turbo",
    sizes=sizes((512, 512)), sampler="euler_a_sgm_uniform", steps=4, guidance=0.0, **_DISTILLED,
)  # fmt: skip
variant(SDXL, "sdxl_lightning", "lightning", sampler="euler_sgm_uniform", steps=4, guidance=1.0, **_DISTILLED)
variant(SDXL, "sdxl_hyper", "hyper", sampler="ddim_sgm_uniform", steps=8, guidance=1.0, **_DISTILLED)
# Fine-tunes with Turbo or a consistency model fused in keep the size of SDXL and some guidance.
variant(SDXL, "sdxl_turbo_merge", "turbo-merge", sampler="euler_a_sgm_uniform", steps=8, guidance=2.0)
variant(SDXL, "sdxl_lcm", "lcm", sampler="lcm", steps=8, guidance=1.5)

# Trained on tags, the second layer of CLIP from the end as in all of SDXL.
variant(
    SDXL, "pony", "pony",
    sampler="euler_a", steps=25, guidance=7.0, quality_words="score_9, score_8_up, score_7_up",
)  # fmt: skip
_ILLUSTRIOUS = variant(
    SDXL, "illustrious", "illustrious",
    sampler="euler_a", steps=28, guidance=6.0, quality_words="masterpiece, best quality",
)  # fmt: skip
_NOOB_WORDS = "masterpiece, best quality, newest, absurdres, highres"
variant(_ILLUSTRIOUS, "noobai", "noobai", guidance=5.0, quality_words=_NOOB_WORDS)
variant(
    _ILLUSTRIOUS, "noobai_v", "noobai-v",
    sampler="euler", guidance=5.0, quality_words=_NOOB_WORDS, prediction="v_prediction", zero_terminal_snr=True,
)  # fmt: skip
# Other fine-tunes that were turned to velocity and pure noise, of whatever ecosystem.
variant(SDXL, "sdxl_v", "v", sampler="euler", prediction="v_prediction", zero_terminal_snr=True)
variant(SDXL, "playground", "playground", steps=50, guidance=3.0, prediction="")
