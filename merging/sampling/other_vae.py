"""A plan's own VAE in place of the base's while its images are sampled. The base is as it was afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...errors import PlanError
from ..engine.engine import Engine
from ..engine.pipeline_loading import without_warnings
from ..plan.merge_plan import MergePlan
from ..plan.vae import located_vae, vae_folder


@contextmanager
def plan_vae(engine: Engine, plan: MergePlan) -> Iterator[None]:
    """Let the engine's pipeline decode with the VAE that a plan names; one that names none changes nothing.

    Raises:
        PlanError: the VAE is absent, another one than the plan pins, or does not fit the base's latents.
    """
    if plan.vae is None:
        yield
        return
    pipe, own = engine.pipe, engine.pipe.vae
    pipe.vae = _loaded(located_vae(plan.vae), plan.vae.sha256, own, engine.dtype, pipe._execution_device)
    try:
        yield
    finally:
        pipe.vae = own


@contextmanager
def tiles(pipe: Any, on: bool) -> Iterator[None]:
    """Let the pipeline's VAE decode in tiles, if it can; afterwards at once again."""
    vae = pipe.vae
    if not on or not hasattr(vae, "enable_tiling"):
        yield
        return
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()


@lru_cache(maxsize=1)
def _loaded(path: Path, sha256: str, own: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A VAE on a device; the last one is kept, by its bytes and by the VAE that it stands in for."""
    try:
        with without_warnings():
            vae = _from_folder(folder, own) if (folder := vae_folder(path)) else _from_file(path, own)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(f"the VAE at {path} does not fit this base: {error}") from error
    ours, theirs = (getattr(one.config, "latent_channels", None) for one in (own, vae))
    if ours != theirs:
        raise PlanError(f"the VAE at {path} decodes latents of {theirs} channels, but this base makes {ours}")
    vae.requires_grad_(False).eval()
    return vae.to(device=device, dtype=dtype)


def _from_folder(folder: Path, own: Any) -> Any:
    return type(own).from_pretrained(str(folder), local_files_only=True, use_safetensors=True)


def _from_file(file: Path, own: Any) -> Any:
    """A VAE of the base's own shape, from a file in diffusers' or in the original layout, or from a whole model's."""
    with tempfile.TemporaryDirectory() as config:
        own.save_config(config)  # else the loader asks the network what shape it has
        vae = type(own).from_single_file(str(file), config=config, local_files_only=True)
    if lost := [name for name, parameter in vae.named_parameters() if parameter.is_meta]:
        raise ValueError(f"it lacks {', '.join(lost[:3])} and {len(lost)} weights in all")
    return vae
