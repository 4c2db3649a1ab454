"""``prompt``: the graph by which ComfyUI draws a plan again, for plans that its own nodes can carry out; else none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from ...errors import PlanError
from ..plan.merge_plan import MergePlan, Method, PlanExpert
from ..plan.samplers import DEFAULT, split

_SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "ddim": "ddim", "ddpm": "ddpm", "deis": "deis", "dpm2": "dpm_2", "dpm2_a": "dpm_2_ancestral",
        "dpmpp_2m": "dpmpp_2m", "dpmpp_2m_sde": "dpmpp_2m_sde", "dpmpp_3m_sde": "dpmpp_3m_sde", "euler": "euler",
        "euler_a": "euler_ancestral", "heun": "heun", "lcm": "lcm", "lms": "lms", "sa_solver": "sa_solver",
        "unipc": "uni_pc",
    }
)  # fmt: skip
"""A plan's sampler -> ComfyUI's."""
_SPACINGS: Mapping[str, str] = MappingProxyType(
    {
        "": "normal", "karras": "karras", "exponential": "exponential", "beta": "beta", "sgm_uniform": "sgm_uniform",
        "simple": "simple", "ddim_uniform": "ddim_uniform",
    }
)  # fmt: skip
_CHECKPOINTS = MappingProxyType({"sd15": "EmptyLatentImage", "sd21": "EmptyLatentImage", "sdxl": "EmptyLatentImage",
                                 "sd3": "EmptySD3LatentImage"})  # fmt: skip
"""Architectures that one file holds whole -> the node of their empty latents."""
_SUFFIX = ".safetensors"
_Link = list[str | int]


def comfy_graph(
    plan: MergePlan, seed: int, size: tuple[int, int], names: Mapping[str, str], own: str = ""
) -> dict[str, Any] | None:
    """The graph in ComfyUI's API form; None for what its own nodes do not do: other methods than a sum, schedules,
    weights by block, samplers and architectures that it has no plain loader for.

    Args:
        plan: the plan; its experts are taken for LoRAs.
        seed: of the image.
        size: (width, height) of the image.
        names: expert id -> its file's name without the ending.
        own: the base's own sampler as plans name it, for plans that leave the sampler to the base.
    """
    sampler = _sampler(own if plan.sampler.name == DEFAULT else plan.sampler.name, flow=plan.base.family == "flux1")
    strengths = [_strengths(expert) for expert in plan.experts]
    plain = plan.method == Method() and plan.schedule is None and not any(one is None for one in strengths)
    if sampler is None or not plain:
        return None
    made = _Made()
    loaded = _loaders(made, plan)
    if loaded is None:
        return None
    model, clip, vae, latent = loaded
    for expert, strength in zip(plan.experts, strengths, strict=True):
        assert strength is not None
        node = made.add(
            "LoraLoader", lora_name=names[expert.id] + _SUFFIX, strength_model=strength[0], strength_clip=strength[1],
            model=model, clip=clip,
        )  # fmt: skip
        model, clip = [node, 0], [node, 1]
    if plan.sampler.clip_skip is not None:
        clip = [made.add("CLIPSetLastLayer", stop_at_clip_layer=-plan.sampler.clip_skip, clip=clip), 0]
    if plan.vae is not None:
        vae = [made.add("VAELoader", vae_name=_file(plan.vae.ref)), 0]
    positive: _Link = [made.add("CLIPTextEncode", text=plan.prompt, clip=clip), 0]
    negative: _Link = [made.add("CLIPTextEncode", text=plan.negative_prompt, clip=clip), 0]
    guidance = plan.sampler.guidance
    if plan.base.family == "flux1":
        positive, guidance = [made.add("FluxGuidance", guidance=guidance, conditioning=positive), 0], 1.0
    empty = made.add(latent, width=size[0], height=size[1], batch_size=1)
    drawn = made.add(
        "KSampler", seed=seed, steps=plan.sampler.steps, cfg=guidance, sampler_name=sampler[0], scheduler=sampler[1],
        denoise=1.0, model=model, positive=positive, negative=negative, latent_image=[empty, 0],
    )  # fmt: skip
    decoded = made.add("VAEDecode", samples=[drawn, 0], vae=vae)
    made.add("SaveImage", filename_prefix="DiffGraph", images=[decoded, 0])
    return made.nodes


class _Made:
    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def add(self, kind: str, **inputs: object) -> str:
        key = str(len(self.nodes) + 1)
        self.nodes[key] = {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}
        return key


def _loaders(made: _Made, plan: MergePlan) -> tuple[_Link, _Link, _Link, str] | None:
    """(model, clip, vae, the node of empty latents); None for an architecture that is not known to load plainly."""
    called = _file(plan.base.ref.partition(":")[2] or plan.base.ref)
    if latent := _CHECKPOINTS.get(plan.base.family):
        node = made.add("CheckpointLoaderSimple", ckpt_name=called)
        return [node, 0], [node, 1], [node, 2], latent
    if plan.base.family != "flux1":
        return None
    model = made.add("UNETLoader", unet_name=called, weight_dtype="default")
    clip = made.add("DualCLIPLoader", clip_name1="clip_l.safetensors", clip_name2="t5xxl_fp16.safetensors", type="flux")
    return [model, 0], [clip, 0], [made.add("VAELoader", vae_name="ae.safetensors"), 0], "EmptySD3LatentImage"


def _sampler(name: str, *, flow: bool) -> tuple[str, str] | None:
    """(ComfyUI's sampler, its scheduler); None if it has none such."""
    try:
        sampler, spacing = split(name) if name else ("", "")
    except PlanError:
        return None
    if sampler not in _SAMPLERS or spacing not in _SPACINGS:
        return None
    return _SAMPLERS[sampler], "simple" if flow and not spacing else _SPACINGS[spacing]


def _strengths(expert: PlanExpert) -> tuple[float, float] | None:
    """(on the model, on the text encoders); None where the plan weighs other parts apart."""
    factors = dict(expert.components)
    text = factors.pop("text_encoder*", 1.0)
    denoiser = next((factors.pop(name) for name in ("unet", "transformer") if name in factors), 1.0)
    return None if expert.blocks or factors else (expert.weight * denoiser, expert.weight * text)


def _file(path: str) -> str:
    name = PurePath(path.partition("@")[0]).name
    return name if name.endswith(_SUFFIX) else name + _SUFFIX
