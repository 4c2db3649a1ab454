"""What a base's own scheduler says of how the base is sampled, read off its folder without loading anything."""

from __future__ import annotations

import json
from pathlib import Path

from ..merging.plan.samplers import OwnScheduler

_MAX_BYTES = 2**20


def own_scheduler(base: Path) -> OwnScheduler | None:
    """That of a diffusers folder; None where nothing tells."""
    try:
        with (base / "scheduler" / "scheduler_config.json").open("rb") as file:
            config = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
    name = config.get("_class_name") if isinstance(config, dict) else None
    return OwnScheduler.of(name, config) if isinstance(name, str) else None
