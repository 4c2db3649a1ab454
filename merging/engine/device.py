"""Devices and dtypes by name."""

from __future__ import annotations

from types import MappingProxyType

import torch

from ...errors import UserError

_DTYPES = MappingProxyType({"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16})


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU. Raises UserError for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"there is no device called {name!r}: use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device that PyTorch can use; set DIFFGRAPH_DEVICE=cpu")
    return device


def pick_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A torch dtype by name. Raises UserError for any but float32, bfloat16, float16."""
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise UserError(f"{dtype!r} is no dtype for weights: use one of {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
