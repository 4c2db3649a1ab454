"""Samplers by name: a fresh diffusers scheduler for a base, out of its own scheduler's configuration."""

from __future__ import annotations

from typing import Any

from ...errors import PlanError
from ..plan.samplers import DEFAULT, KINDS, SPACINGS, Way, problem, split


def way_of(own: Any) -> Way:
    """How a base whose own scheduler this is has to be sampled."""
    name, config = type(own).__name__, own.config
    if (
        name.startswith("FlowMatch")
        or config.get("use_flow_sigmas")
        or config.get("prediction_type") == "flow_prediction"
    ):
        return "flow"
    return "noise" if "beta_schedule" in config else "other"


def make_scheduler(own: Any, name: str) -> Any:
    """A fresh scheduler of the base's configuration; schedulers keep state, so every batch gets its own.

    Args:
        own: the scheduler that the base came with.
        name: of the sampler, as plans or other programs write it.

    Raises:
        PlanError: unknown name (with the closest known ones), or one that this base cannot be drawn with.
    """
    way = way_of(own)
    if why := problem(name, way):
        raise PlanError(why)
    sampler, spacing = split(name)
    if sampler == DEFAULT:
        return type(own).from_config(own.config)
    import diffusers

    kind, options = KINDS[sampler], dict[str, object]()
    if spacing:
        options.update((SPACINGS[spacing].noise if way == "noise" else SPACINGS[spacing].flow) or {})
    made = getattr(diffusers, kind.noise if way == "noise" else kind.flow)
    return made.from_config(own.config, **kind.options, **options)
