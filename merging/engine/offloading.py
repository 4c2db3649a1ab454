"""A pipeline whose weights stay in the machine's memory and visit the device only while they are used."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import UserError
from ..plan.memory import Offload


def offload_pipeline(pipe: Any, device: torch.device, offload: Offload) -> None:
    """Let diffusers move a pipeline's models, or their layers, to the device when they run, and back.

    Args:
        pipe: a diffusers pipeline, its weights on the CPU.
        device: where it runs.
        offload: "none" changes nothing.

    Raises:
        UserError: the pipeline knows no order in which its models take turns.
    """
    try:
        if offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif offload == "group":
            pipe.enable_group_offload(onload_device=device, offload_type="leaf_level")
    except ValueError as error:
        raise UserError(
            f"{type(pipe).__name__} cannot be offloaded so ({error}): set DIFFGRAPH_OFFLOAD=group or none"
        ) from error
