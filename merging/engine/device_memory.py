"""How much memory a device has and has free. Imports torch only for a device that is no CPU."""

from __future__ import annotations

from ..plan.memory import DeviceMemory
from .free_memory import available_bytes


def device_memory(device: str = "cpu") -> DeviceMemory:
    """What a device has now; 0 bytes where the system does not tell.

    Args:
        device: "cpu", or a name that torch knows, or "auto"; torch is imported for all but "cpu".

    Raises:
        UserError: no such device, as `pick_device`.
    """
    if device == "cpu":
        return DeviceMemory(device="cpu", total=0, free=available_bytes())
    import torch

    from .device import pick_device

    where = pick_device(device)
    if where.type == "cuda":
        free, total = torch.cuda.mem_get_info(where)
        # What torch holds back and uses no more is as good as free.
        free += torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return DeviceMemory(device="cuda", total=total, free=free, bfloat16=native)
    return DeviceMemory(device=where.type, total=0, free=available_bytes())
