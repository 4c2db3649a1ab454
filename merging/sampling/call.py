"""What a pipeline is called with: only what it takes, and nothing that it would drop or change without a word.

Every family has its own words for the same things: guidance may be ``guidance_scale`` or ``true_cfg_scale``, an input
of a distilled denoiser or a second pass; some take a negative prompt, some its encoding, some none. All of it is read
off the signature of the pipeline's call and off its configuration.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from ...bases.pipeline_config import PipelineConfig
from ...errors import PlanError
from ..plan.drawable import guidance_sentence, one_area_sentence
from ..plan.merge_plan import Sampler
from ..plan.size_fit import area_size, size_sentence

SCHNELL_TOKENS = 256
"""Tokens that FLUX.1 schnell was trained with; the pipeline takes 512 of any FLUX.1."""
RESCALE = 0.7
"""Guidance rescale for bases of zero terminal SNR: Lin et al., arXiv 2305.08891, section 3.4."""


def call_arguments(pipe: Any, sampler: Sampler, text: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for one batch, beside its generators and what is called after a step.

    Args:
        pipe: the pipeline.
        sampler: of the plan.
        text: what carries the words: ``prompt`` and ``negative_prompt``, lists with one text for each image, or their
            embeddings under the pipeline's own names.

    Raises:
        PlanError: a size that the pipeline would change, or a negative prompt that could not act.
    """
    takes = _parameters(pipe)
    out: dict[str, Any] = {"num_inference_steps": sampler.steps, "output_type": "np"}
    out |= _size(pipe, sampler, takes)
    out |= _words(pipe, sampler, text, takes)
    if _is_true_cfg(takes):
        out["true_cfg_scale"] = sampler.guidance
        if "guidance_scale" in takes and _config(pipe).get("guidance_embeds"):
            out["guidance_scale"] = sampler.guidance
    elif "guidance_scale" in takes:
        out["guidance_scale"] = sampler.guidance
    if "guidance_rescale" in takes and _is_rescaled(pipe):
        out["guidance_rescale"] = RESCALE
    if "max_sequence_length" in takes and _is_schnell(pipe):
        out["max_sequence_length"] = SCHNELL_TOKENS
    # Sana and PixArt would draw at the nearest size of a list and scale the image.
    fixed = {"use_resolution_binning": False, "clean_caption": False}
    return out | {name: value for name, value in fixed.items() if name in takes}


def zeroed(pipe: Any) -> bool:
    """Whether zeros stand for an empty negative prompt, instead of its encoding: Stable Diffusion XL was trained so."""
    return bool(getattr(pipe, "config", {}).get("force_zeros_for_empty_prompt"))


def takes_negative(pipe: Any) -> bool:
    """Whether a negative prompt can act, given guidance over 1."""
    takes = _parameters(pipe)
    if _config(pipe).get("time_cond_proj_dim"):
        return False  # the scale is an input of a consistency model's denoiser, which draws once
    if "negative_prompt" in takes:
        return "true_cfg_scale" not in takes or _is_true_cfg(takes)
    return _by_embedding(pipe, takes)


def _parameters(pipe: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(type(pipe).__call__).parameters


def _config(pipe: Any) -> Mapping[str, Any]:
    denoiser = getattr(pipe, "transformer", None) or getattr(pipe, "unet", None)
    return {} if denoiser is None else dict(denoiser.config)


def _is_rescaled(pipe: Any) -> bool:
    """Whether guidance washes colours out: of Stable Diffusions that begin at pure noise. Others were tuned without."""
    if not pipe.scheduler.config.get("rescale_betas_zero_snr"):
        return False
    denoiser = {"_class_name": type(pipe.unet).__name__, **pipe.unet.config}
    return PipelineConfig({"_class_name": type(pipe).__name__}, denoiser).architecture in ("sd15", "sd21", "sdxl")


def _is_true_cfg(takes: Mapping[str, inspect.Parameter]) -> bool:
    """Whether guidance is ``true_cfg_scale``. FLUX.1 has that beside the scale that is distilled into it."""
    return "true_cfg_scale" in takes and ("guidance_scale" not in takes or takes["guidance_scale"].default is None)


def _is_schnell(pipe: Any) -> bool:
    """FLUX.1 schnell is the FLUX.1 whose denoiser takes no guidance; FLUX.2 Klein's takes none either."""
    kind = type(pipe).__name__
    return kind.startswith("Flux") and not kind.startswith("Flux2") and _config(pipe).get("guidance_embeds") is False


def _by_embedding(pipe: Any, takes: Mapping[str, inspect.Parameter]) -> bool:
    """FLUX.2 Klein takes the encoding of a negative prompt, if it is the base and not the distilled model."""
    return "negative_prompt_embeds" in takes and "guidance_scale" in takes and not pipe.config.get("is_distilled", True)


def _size(pipe: Any, sampler: Sampler, takes: Mapping[str, inspect.Parameter]) -> dict[str, int]:
    given = {name: value for name in ("width", "height") if (value := getattr(sampler, name)) is not None}
    side = getattr(pipe, "default_sample_size", None)
    own = int(side * pipe.vae_scale_factor) if isinstance(side, int | float) else None
    width, height = given.get("width", own), given.get("height", own)
    multiple = side_multiple(pipe)
    if any(value % multiple for value in given.values()):
        raise PlanError(size_sentence(given.get("width"), given.get("height"), multiple))
    if width is not None and height is not None and given:
        drawn = _scaled(pipe, width, height, multiple)
        if drawn != (width, height):
            raise PlanError(one_area_sentence(width, height, drawn))
    if "max_area" in takes and width is not None and height is not None:
        given["max_area"] = width * height  # FLUX.1 Kontext scales what is asked for to this many pixels
    return given


def side_multiple(pipe: Any) -> int:
    """What both sides of an image must be multiples of: what a pixel of the latents stands for, times the patch."""
    scale = int(pipe.vae_scale_factor)
    processor = getattr(pipe, "image_processor", None)
    packed = int(processor.config.vae_scale_factor) if processor is not None else scale
    patch = _config(pipe).get("patch_size") if getattr(pipe, "transformer", None) is not None else 1
    return math.lcm(scale, packed, scale * patch if isinstance(patch, int) else scale)


def _scaled(pipe: Any, width: int, height: int, multiple: int) -> tuple[int, int]:
    """The size that HiDream makes of another; all others draw what they are asked for."""
    if type(pipe).__name__ != "HiDreamImagePipeline":
        return width, height
    area = int(pipe.default_sample_size * pipe.vae_scale_factor) ** 2
    return area_size(width, height, area, multiple)


def _words(
    pipe: Any, sampler: Sampler, text: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    out = {name: value for name, value in text.items() if name != "negative_prompt"}
    if (negative := text.get("negative_prompt")) is None:
        return out
    if any(negative):
        if not takes_negative(pipe):
            raise PlanError(
                f"this base takes no negative prompt ({type(pipe).__name__}): leave it out, and say what is wanted"
            )
        if sampler.guidance <= 1:
            raise PlanError(guidance_sentence(sampler.guidance))
    if not any(negative) and zeroed(pipe):
        return out  # the pipeline does so where no negative prompt is given, not where an empty one is
    if "negative_prompt" not in takes:
        return out | (_encoded(pipe, negative) if any(negative) else {})
    if "true_cfg_scale" not in takes:
        return out | {"negative_prompt": negative}
    if not _is_true_cfg(takes) or sampler.guidance <= 1:
        return out
    return out | {"negative_prompt": [each or " " for each in negative]}  # as Qwen-Image's makers call it


def _encoded(pipe: Any, negative: list[str]) -> dict[str, Any]:
    device = pipe._execution_device
    return {"negative_prompt_embeds": pipe.encode_prompt(prompt=negative, device=device, num_images_per_prompt=1)[0]}
