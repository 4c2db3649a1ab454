"""A diffusers pipeline from a local folder: safetensors only, no network, no progress bars."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ...bases.index import variant_of
from ...bases.key import denoiser_files
from ...errors import UserError
from ..sampling.schedulers import as_trained


def load_pipeline(base_dir: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a diffusers pipeline folder: local files, safetensors only, no safety checker, no progress bars of its own.

    Args:
        base_dir: the folder.
        device: where to.
        dtype: of its weights; those in fp8 stay as they are.

    Raises:
        UserError: there is no pipeline, or diffusers cannot load it; the message says where and why.
    """
    listing = base_dir / "model_index.json"
    if not listing.is_file():
        raise UserError(f"there is no diffusers pipeline in {base_dir}: model_index.json is missing")
    import diffusers

    # From 0.42 on, torch_dtype is called dtype, and the old name warns.
    name = "dtype" if tuple(map(int, diffusers.__version__.split(".")[:2])) >= (0, 42) else "torch_dtype"
    declared = json.loads(listing.read_text(encoding="utf-8"))
    extra: dict[str, Any] = {name: dtype} | ({"safety_checker": None} if "safety_checker" in declared else {})
    if "requires_safety_checker" in declared:
        extra["requires_safety_checker"] = False
    if (variant := variant_of(denoiser_files(base_dir))) is not None:
        extra["variant"] = variant
    try:
        with _quiet():
            pipe = diffusers.DiffusionPipeline.from_pretrained(
                str(base_dir), local_files_only=True, use_safetensors=True, **extra
            )
    except (ImportError, OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise UserError(f"the pipeline in {base_dir} cannot be loaded: {error}") from error
    pipe.scheduler = as_trained(pipe.scheduler, base_dir)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Without the loaders' warnings; both libraries are left as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the loaders' progress bars; both libraries are left as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    were_on = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, was_on in zip(libraries, were_on, strict=True):
            if was_on:
                library.enable_progress_bar()
