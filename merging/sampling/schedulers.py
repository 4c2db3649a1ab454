"""Samplers by name: a fresh diffusers scheduler for a base, out of its own scheduler's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...bases.ecosystem import ecosystem_of_folder, scheduler_changes
from ...bases.families import family_for
from ...bases.pipeline_config import PipelineConfig
from ...errors import PlanError
from ..plan.samplers import DEFAULT, KINDS, SPACINGS, OwnScheduler, problem, split


def as_trained(own: Any, base_dir: Path) -> Any:
    """The scheduler that a base came with, or one that samples it as it was trained where that one would not.

    Checkpoints that predict v, or begin at pure noise, are often kept beside a scheduler that knows nothing of it.

    Args:
        own: as it was loaded.
        base_dir: the diffusers folder.
    """
    architecture = PipelineConfig.open(base_dir).architecture
    if not architecture:
        return own
    found = ecosystem_of_folder(base_dir, architecture)
    config = {**own.config, "_class_name": type(own).__name__}
    changes = scheduler_changes(config, found, family_for(architecture, found.name))
    if not changes:
        return own
    import diffusers

    made = getattr(diffusers, changes.pop("_class_name", type(own).__name__))
    return made.from_config(own.config, **changes)


def make_scheduler(own: Any, name: str, generators: Sequence[torch.Generator] = ()) -> Any:
    """A fresh scheduler of the base's configuration; schedulers keep state, so every batch gets its own.

    Args:
        own: the scheduler that the base came with.
        name: of the sampler, as plans or other programs write it.
        generators: of the images of a batch, for samplers that add noise on the way.

    Raises:
        PlanError: unknown name (with the closest known ones), or one that this base cannot be drawn with.
    """
    known = OwnScheduler.of(type(own).__name__, own.config)
    if why := problem(name, known):
        raise PlanError(why)
    sampler, spacing = split(name)
    if sampler == DEFAULT:
        return type(own).from_config(own.config)
    kind = KINDS[sampler]
    if known.way == "flow":
        from .flow_samplers import flow_sampler

        made = flow_sampler(own, kind.flow, kind.options, (SPACINGS[spacing].flow or {}) if spacing else {})
        made.generators = list(generators) or None
        return made
    import diffusers

    options = {**kind.options, **(SPACINGS[spacing].noise if spacing else {})}
    return getattr(diffusers, kind.noise).from_config(own.config, **options)
