"""Read the header of a safetensors file, and nothing more: no torch, no weights in memory, every size bounded.

A safetensors file is an 8-byte little-endian length, that many bytes of JSON (tensor name -> dtype, shape, byte range;
``__metadata__`` -> strings), and the bytes of the tensors. All of it was written by strangers, so all of it is checked
here before anything else opens the file: a header that lies (longer than the file, overlapping or missing byte
ranges, a tensor named twice, sizes that do not fit the dtype) is an `ExpertError`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ..errors import ExpertError

FileKind = Literal["lora", "locon", "loha", "lokr", "dora", "oft", "full", "checkpoint", "textual_inversion"]

MAX_HEADER_BYTES = 32 * 2**20
"""The header of the largest public model is under 1 MB."""
MAX_TENSORS = 200_000
MAX_DIMENSIONS = 8

BITS = MappingProxyType(
    {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8}
    | {"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8}
)
"""Bits of one value, by the dtype's name in the header. Other dtypes are refused."""
FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})

_PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as the header describes it; ``start`` and ``end`` are byte offsets after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """A checked header.

    Attributes:
        path: the file.
        size_bytes: length of the whole file.
        tensors: tensor name -> `TensorInfo`, sorted by name.
        metadata: the file's own ``__metadata__`` strings. Hostile text: data, never instructions.
        memo: what formats found out from all this, so that they need to but once.
    """

    path: Path
    size_bytes: int
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """Tensor names, sorted."""
        return tuple(self.tensors)

    @cached_property
    def kind(self) -> FileKind:
        """What kind of expert the tensor names say this is. Raises ExpertError if no format knows them."""
        from ..merging.formats.format import detect

        return detect(self)[1]

    @cached_property
    def rank(self) -> int | None:
        """The largest rank in the file, or None for a kind that has none. Raises ExpertError as `kind` does."""
        from ..merging.formats.format import detect

        return detect(self)[0].rank(self)


def read_header(path: Path | str) -> Header:
    """Read and check the header of ``path``.

    Raises:
        ExpertError: not a file, a pickle, an error page, or a header that is not exactly right.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise _pickle(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(8)
            length = _header_length(path, first, size)
            raw = file.read(length)
    except OSError as error:
        raise ExpertError(f"{path}: cannot be read: {error.strerror or error}", path=str(path)) from error
    entries = _parse(path, raw)
    metadata = _metadata(path, entries.pop("__metadata__", {}))
    if not entries:
        raise _bad(path, "it holds no tensors")
    if len(entries) > MAX_TENSORS:
        raise _bad(path, f"it names {len(entries)} tensors; the bound is {MAX_TENSORS}")
    tensors = {key: _tensor(path, key, entries[key]) for key in sorted(entries)}
    _check_layout(path, tensors, size - 8 - length)
    return Header(path, size, MappingProxyType(tensors), MappingProxyType(metadata))


def _bad(path: Path, what: str, keys: tuple[str, ...] = ()) -> ExpertError:
    return ExpertError(f"{path}: not a sound safetensors file: {what}", path=str(path), keys=keys)


def _pickle(path: Path) -> ExpertError:
    text = "is a pickle, which can run code when it is opened; DiffGraph opens safetensors only. Convert it first"
    return ExpertError(f"{path} {text}", path=str(path))


def _header_length(path: Path, first: bytes, size: int) -> int:
    if len(first) < 8:
        raise _bad(path, f"it is only {len(first)} bytes long")
    length = int(struct.unpack("<Q", first)[0])
    if length <= MAX_HEADER_BYTES and 8 + length <= size:
        return length
    # Only now look for other formats: the first bytes of a sound file are a number and may look like anything.
    if first.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise _pickle(path)
    if first.lstrip()[:1] in (b"<", b"{"):
        raise _bad(path, "it is text, perhaps an error page that was saved under this name")
    if length <= MAX_HEADER_BYTES:
        raise _bad(path, f"its header claims {length} bytes, but the file has {size}: it is cut off")
    raise _bad(path, f"its header claims {length} bytes; the bound is {MAX_HEADER_BYTES}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r} is named twice")
    return out


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"its header is not the JSON it should be ({error})") from error
    if not isinstance(entries, dict):
        raise _bad(path, "its header is not a JSON object")
    return entries


def _metadata(path: Path, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _bad(path, "its __metadata__ is not a map of strings")
    return value


def _tensor(path: Path, key: str, entry: object) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"tensor {key!r} lacks dtype, shape or data_offsets", (key,))
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _bad(path, f"tensor {key!r} has dtype {dtype!r}, which is not understood", (key,))
    if not _naturals(shape) or len(shape) > MAX_DIMENSIONS:
        raise _bad(path, f"tensor {key!r} has a malformed shape", (key,))
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _bad(path, f"tensor {key!r} has malformed data_offsets", (key,))
    info = TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])
    if info.numel * BITS[dtype] // 8 != info.end - info.start:
        raise _bad(path, f"tensor {key!r}: {dtype} of shape {shape} does not fill its byte range", (key,))
    return info


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_layout(path: Path, tensors: Mapping[str, TensorInfo], data_bytes: int) -> None:
    """Byte ranges must follow each other without gap or overlap and fill the file to its end."""
    at = 0
    for key, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != at:
            how = "overlaps the tensor before it" if info.start < at else "leaves a gap before it"
            raise _bad(path, f"tensor {key!r} {how}", (key,))
        at = info.end
    if at != data_bytes:
        how = "it is cut off" if at > data_bytes else "bytes follow the last tensor"
        raise _bad(path, f"its tensors take {at} bytes, but {data_bytes} are there: {how}")
