"""Read a safetensors header without the tensors: 8 bytes little-endian length, then JSON, then data.

Format: https://huggingface.co/docs/safetensors/index#format. Files come from strangers, so every number is bounded and
checked before it is believed. Nothing here needs torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ...errors import ExpertError

MAX_HEADER_BYTES = 25_000_000
MAX_TENSORS = 200_000
MAX_METADATA_BYTES = 4_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        shapes: tensor name -> shape.
        dtypes: tensor name -> safetensors dtype name (``F16``, ``BF16``, …).
        metadata: the free ``__metadata__`` strings; written by strangers.
        data_bytes: size of the tensor data, in bytes.
        total_bytes: size that the whole file must have, in bytes.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]
    data_bytes: int
    total_bytes: int


def header_length(prefix: bytes, name: str) -> int:
    """The header's length in bytes, from the file's first 8 bytes. Raises ExpertError for pickles and nonsense."""
    if len(prefix) < 8:
        raise ExpertError(f"{name} is not a safetensors file: it is only {len(prefix)} bytes long.", path=name)
    length = int.from_bytes(prefix[:8], "little")
    if 2 <= length <= MAX_HEADER_BYTES:
        return length
    # Diagnosed only now: the length of a good file may begin with the same bytes as a pickle.
    if prefix[:2] == b"PK" or prefix[:1] == b"\x80":
        raise ExpertError(
            f"{name} is a pickle and is not opened: pickles can run code. Ask for a .safetensors file.", path=name
        )
    hint = " It looks like a web page." if prefix.lstrip()[:1] == b"<" else ""
    raise ExpertError(f"{name} is not a safetensors file: its first bytes are no header length.{hint}", path=name)


def parse_header(raw: bytes, name: str, *, file_size: int | None = None) -> Header:
    """Parse the JSON part of a header.

    Args:
        raw: exactly the header's bytes, without the 8-byte length.
        name: what to call the file in errors.
        file_size: size of the whole file in bytes, if known; it must match what the header says.

    Raises:
        ExpertError: malformed JSON, unknown dtypes, wrong offsets, or a size that does not match.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ExpertError(f"{name}: the safetensors header is not JSON ({type(error).__name__}).", path=name) from error
    if not isinstance(document, dict):
        raise ExpertError(f"{name}: the safetensors header is not a JSON object.", path=name)
    metadata = document.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ExpertError(f"{name}: __metadata__ must map names to strings.", path=name)
    if sum(len(k) + len(v) for k, v in metadata.items()) > MAX_METADATA_BYTES:
        raise ExpertError(f"{name}: __metadata__ is larger than {MAX_METADATA_BYTES} bytes.", path=name)
    if len(document) > MAX_TENSORS:
        raise ExpertError(f"{name}: more than {MAX_TENSORS} tensors in one header.", path=name)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    spans: list[tuple[int, int, str]] = []
    for key, entry in document.items():
        dtype, shape, begin, end = _entry(name, key, entry)
        if math.prod(shape) * _BITS[dtype] != (end - begin) * 8:
            raise ExpertError(
                f"{name}: {key} has {end - begin} bytes, its shape says otherwise.", path=name, keys=(key,)
            )
        shapes[key], dtypes[key] = shape, dtype
        spans.append((begin, end, key))
    at = 0
    for begin, end, key in sorted(spans):
        if begin != at:
            raise ExpertError(f"{name}: {key} overlaps its neighbour or leaves a hole.", path=name, keys=(key,))
        at = end
    total = 8 + len(raw) + at
    if file_size is not None and file_size != total:
        raise ExpertError(
            f"{name} is {file_size} bytes long, its header says {total}: damaged or cut short.", path=name
        )
    return Header(shapes, dtypes, metadata, at, total)


def _entry(name: str, key: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    bad = ExpertError(f"{name}: the header entry of {key!r} is malformed.", path=name, keys=(key,))
    if not isinstance(entry, dict):
        raise bad
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _BITS or not isinstance(shape, list) or not isinstance(offsets, list):
        raise bad
    if len(offsets) != 2 or len(shape) > 16:
        raise bad
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in [*shape, *offsets]):
        raise bad
    if offsets[1] < offsets[0]:
        raise bad
    return dtype, tuple(shape), offsets[0], offsets[1]


def read_header(path: Path) -> Header:
    """Header of a local file; reads the header only, whatever the file's size.

    Raises:
        ExpertError: not a safetensors file, a pickle, cut short, or not readable.
    """
    name = path.name
    if path.suffix != ".safetensors":
        raise ExpertError(
            f"{name} is not opened: only .safetensors files are, because pickles can run code.", path=name
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            length = header_length(handle.read(8), name)
            if length > size - 8:
                raise ExpertError(f"{name} is cut short: its header alone needs {length} bytes.", path=name)
            raw = handle.read(length)
    except OSError as error:
        raise ExpertError(f"{name} cannot be read: {error.strerror}.", path=name) from error
    return parse_header(raw, name, file_size=size)
