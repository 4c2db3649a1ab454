"""Whether a base can be drawn as a plan's sampler says, told from its folder's JSON files. No torch, no weights.

`merging.sampling.call` and `merging.sampling.schedulers` ask the same of a loaded pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...bases.ecosystem import ecosystem_of_folder, scheduler_changes
from ...bases.families import family_for
from ...bases.pipeline_config import PipelineConfig, read_json
from .merge_plan import MergePlan
from .samplers import OwnScheduler, problem
from .size_fit import area_size, size_sentence

_ONE_AREA = "HiDreamImagePipeline"
_LATENT_SIDE = 128
"""Side of the latents that HiDream draws, whatever is asked for."""
_NO_NEGATIVE = frozenset(
    {"Flux2Pipeline", "FluxKontextPipeline", "FluxPipeline", "LatentConsistencyModelPipeline", "SanaSprintPipeline"}
)
_PACKED = frozenset({"auraflow", "chroma", "flux1", "flux2", "hidream", "lumina2", "qwen_image", "z_image"})
"""Architectures whose latents are put together two by two."""


class Drawability(NamedTuple):
    """What a base draws.

    Attributes:
        scheduler: its own, changed where it would not sample the base as it was trained; None where none is told.
        multiple: what the sides of an image must be multiples of, in pixels; None where the files do not tell.
        one_area: how many pixels all its images have; None if any number.
        negative: whether a negative prompt can act, given guidance.
        guided: whether the scale of the guidance is read at all.
    """

    scheduler: OwnScheduler | None
    multiple: int | None
    one_area: int | None
    negative: bool
    guided: bool


def drawability(folder: Path) -> Drawability:
    """What the base in a diffusers folder draws."""
    config = PipelineConfig.open(folder)
    pipeline, architecture = str(config.listing.get("_class_name", "")), config.architecture
    scale = _scale(read_json(folder / "vae" / "config.json"))
    patch = config.denoiser.get("patch_size")
    factor = 2 if architecture in _PACKED else 1
    if architecture and architecture in (*_PACKED, "sd3", "sana") and isinstance(patch, int):
        factor = math.lcm(factor, patch)
    distilled = config.listing.get("is_distilled") is True
    consistent = config.denoiser.get("time_cond_proj_dim") is not None
    unguided = architecture == "flux1" and config.denoiser.get("guidance_embeds") is False
    return Drawability(
        scheduler=_scheduler(folder, config),
        multiple=scale * factor if scale and architecture else None,
        one_area=(_LATENT_SIDE * scale) ** 2 if scale and pipeline == _ONE_AREA else None,
        negative=pipeline not in _NO_NEGATIVE and not distilled and not consistent,
        guided=not distilled and not unguided,
    )


def drawing_problems(
    plan: MergePlan, folder: Path
) -> Iterator[tuple[Literal["sampler", "size", "negative", "guidance"], str, bool]]:
    """What is wrong with how a plan wants a base to be drawn: (what about, a sentence, whether that is fatal)."""
    can, sampler = drawability(folder), plan.sampler
    if can.scheduler is not None and (why := problem(sampler.name, can.scheduler)):
        yield "sampler", why, True
    sides = [side for side in (sampler.width, sampler.height) if side is not None]
    if can.multiple is not None and any(side % can.multiple for side in sides):
        yield "size", size_sentence(sampler.width, sampler.height, can.multiple), True
    elif can.multiple is not None and can.one_area is not None and len(sides) == 2:
        drawn = area_size(sides[0], sides[1], can.one_area, can.multiple)
        if drawn != (sides[0], sides[1]):
            yield "size", one_area_sentence(sides[0], sides[1], drawn), True
    if plan.negative_prompt and not can.negative:
        yield "negative", "this base takes no negative prompt: leave it out, and say what is wanted", True
    elif plan.negative_prompt and sampler.guidance <= 1:
        yield "negative", guidance_sentence(sampler.guidance), True
    if not can.guided and sampler.guidance > 1:
        yield "guidance", f"this base reads no guidance, so a scale of {sampler.guidance:g} changes nothing", False


def one_area_sentence(width: int, height: int, drawn: tuple[int, int]) -> str:
    """Why a size is refused by a pipeline that scales all sizes to one area."""
    asked, becomes = f"{width}x{height}", f"{drawn[0]}x{drawn[1]}"
    return f"this base draws images of one area only, so {asked} would become {becomes}: give that size"


def guidance_sentence(guidance: float) -> str:
    """Why a negative prompt is refused without guidance."""
    return (
        f"a negative prompt acts through guidance, and a scale of {guidance:g} is none: take one over 1, or leave the "
        "negative prompt out"
    )


def _scheduler(folder: Path, config: PipelineConfig) -> OwnScheduler | None:
    own = dict(config.scheduler)
    if not isinstance(own.get("_class_name"), str):
        return None
    if architecture := config.architecture:
        found = ecosystem_of_folder(folder, architecture)
        own |= scheduler_changes(own, found, family_for(architecture, found.name))
    return OwnScheduler.of(str(own["_class_name"]), own)


def _scale(vae: dict[str, Any]) -> int:
    """How many pixels wide one of the latents is; 0 where the autoencoder is of no known class."""
    blocks = {"AutoencoderDC": "encoder_block_out_channels", "AutoencoderKLQwenImage": "temperal_downsample"}
    name = str(vae.get("_class_name", ""))
    listed = vae.get(blocks.get(name, "block_out_channels"))
    if not isinstance(listed, list) or not name:
        return 0
    return int(2 ** (len(listed) - (name != "AutoencoderKLQwenImage")))
