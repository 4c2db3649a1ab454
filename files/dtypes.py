"""Dtypes by their names in safetensors headers, as torch has them. Imports no torch before it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import torch

_NAMES: Mapping[str, str] = MappingProxyType(
    {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    | {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
    | {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
)
"""Name in a header -> in torch. Those that nothing here computes with (unsigned, narrow, complex) are left out."""
_HEADER_NAMES = MappingProxyType({torch_name: name for name, torch_name in _NAMES.items()})


@cache
def torch_dtypes() -> Mapping[str, torch.dtype]:
    """Name in a header -> torch's dtype."""
    import torch

    return MappingProxyType({name: getattr(torch, torch_name) for name, torch_name in _NAMES.items()})


def torch_dtype(name: str, tensor: str = "a tensor") -> torch.dtype:
    """torch's dtype for a name in a header. Raises UserError, which speaks of ``tensor``, for one that it lacks."""
    found = torch_dtypes().get(name)
    if found is None:
        raise UserError(f"{tensor} has dtype {name}, with which nothing is computed here: convert the file first")
    return found


def header_dtype(dtype: torch.dtype) -> str:
    """The name in a header of one of torch's dtypes; KeyError for one that `torch_dtypes` lacks."""
    return _HEADER_NAMES[str(dtype).removeprefix("torch.")]
