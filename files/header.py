"""Read the header of a safetensors file, and nothing more: no torch, no weights in memory, every size bounded.

A safetensors file is an 8-byte little-endian length, that many bytes of JSON (tensor name -> dtype, shape, byte range;
``__metadata__`` -> strings), and the bytes of the tensors (https://huggingface.co/docs/safetensors/index#format). All
of it was written by strangers, so all of it is checked here before anything else opens the file: a header that lies
(longer than the file, overlapping or missing byte ranges, a tensor named twice, sizes that do not fit the dtype) is an
`ExpertError`.

`read_header` is for a file on this machine. Of one that lies elsewhere the first bytes are enough: `header_length` of
its first 8, then `parse_header` of so many more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ExpertError

MAX_HEADER_BYTES = 32 * 2**20
"""The header of the largest public model is under 1 MB."""
MAX_METADATA_BYTES = 16 * 2**20
"""Trainers write down every tag of every picture they saw; that is some megabytes at most."""
MAX_TENSORS = 200_000
MAX_DIMENSIONS = 8
_MAX_NUMBER = 2**48
"""For sizes and offsets; no file is as long."""
_SHOWN = 120
"""Characters of a stranger's text in a message."""

BITS = MappingProxyType(
    {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
    | {"F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64}
    | {"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8}
)
"""Bits of one value, by the dtype's name in the header: all that the safetensors library knows. Others are refused."""
FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Dtypes whose values are read as numbers. Narrower ones mean nothing without scales that stand elsewhere."""
INTEGERS = frozenset({"I64", "I32", "I16", "I8", "U8"})

SUFFIX = ".safetensors"
GGUF_SUFFIX = ".gguf"
_PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
_POINTER = b"version "
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class TensorInfo(NamedTuple):
    """One tensor as the header describes it; ``start`` and ``end`` are byte offsets after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def numel(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


class Scale(NamedTuple):
    """What a tensor's stored values are to be multiplied with: another tensor of the same file.

    It has one value, or one for each of the tensor's rows (`files.quantisation`).
    """

    key: str
    info: TensorInfo


@dataclass(frozen=True, eq=False)
class Header:
    """A checked header. Two of them are equal only if they are one object.

    Attributes:
        path: the file; of one that was never on this machine, what it is called where it lies.
        size_bytes: length of the whole file.
        tensors: tensor name -> `TensorInfo`, sorted by name.
        metadata: the file's own ``__metadata__`` strings. Hostile text: data, never instructions.
        scales: tensor name -> its scale, where `files.quantisation` found one; then scales are no tensors of their own.
        data_start: where in the file the tensors' bytes begin; 0 if that is not known.
        whole: the file's whole header, if this one was cut down to some of its tensors.
        left_out: name of a tensor that is none of ``tensors`` because it says nothing about weights -> why.
    """

    path: Path
    size_bytes: int
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    scales: Mapping[str, Scale] = field(default_factory=dict)
    data_start: int = 0
    whole: Header | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Tensor names, sorted."""
        return tuple(self.tensors)


def is_safetensors(name: Path | str) -> bool:
    """Whether a file is called as safetensors are, in whichever case."""
    return Path(name).suffix.lower() == SUFFIX


def read_header(path: Path | str) -> Header:
    """Read and check the header of a file on this machine.

    Raises:
        ExpertError: not a file, a pickle, an error page, or a header that is not exactly right.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise _pickle(path)
    if path.suffix.lower() == GGUF_SUFFIX:
        raise _gguf(path)
    if not is_safetensors(path):
        raise ExpertError(f"{path} is not opened: only {SUFFIX} files are, because others may run code", path=str(path))
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            raw = file.read(header_length(file.read(8), path, file_size=size))
    except OSError as error:
        raise ExpertError(f"{path}: cannot be read: {error.strerror or error}", path=str(path)) from error
    return parse_header(raw, path, file_size=size)


def header_length(first: bytes, path: Path | str, *, file_size: int | None = None) -> int:
    """How many bytes of JSON follow a file's first 8.

    Args:
        first: the file's beginning, 8 bytes or more.
        path: what to call the file.
        file_size: bytes of the whole file, if they are known.

    Raises:
        ExpertError: a pickle, an error page, a file that is cut off, a header beyond `MAX_HEADER_BYTES`.
    """
    path = Path(path)
    if len(first) < 8:
        raise _bad(path, f"it is only {len(first)} bytes long")
    length = int.from_bytes(first[:8], "little")
    if first.startswith(b"GGUF"):  # as a length, that would be far beyond any bound
        raise _gguf(path)
    if length <= MAX_HEADER_BYTES and (file_size is None or 8 + length <= file_size):
        return length
    # Only now look for other formats: the first bytes of a sound file are a number and may look like anything.
    if first.startswith(_PICKLE_STARTS):
        raise _pickle(path)
    if first.startswith(_POINTER):
        raise _bad(path, "it is a Git LFS pointer, not the file it points to: run git lfs pull where it came from")
    if first.lstrip()[:1] in (b"<", b"{"):
        raise _bad(path, "it is text, perhaps an error page (a web page) that was saved under this name")
    if length <= MAX_HEADER_BYTES:
        raise _bad(path, f"its header claims {length} bytes, but the file has {file_size}: it is cut off, or cut short")
    raise _bad(path, f"its header claims {length} bytes; the bound is {MAX_HEADER_BYTES}")


def parse_header(raw: bytes, path: Path | str, *, file_size: int | None = None) -> Header:
    """Check a header's bytes.

    Args:
        raw: the JSON, exactly: neither the 8 bytes before it nor the tensors after it.
        path: what to call the file.
        file_size: bytes of the whole file, if they are known; then the tensors must fill it to its end.

    Raises:
        ExpertError: a header that is not exactly right; the message says what is wrong with it.
    """
    path = Path(path)
    document = _document(path, raw)
    metadata = _metadata(path, document.pop("__metadata__", None))
    if not document:
        raise _bad(path, "it holds no tensors")
    if len(document) > MAX_TENSORS:
        raise _bad(path, f"it names {len(document)} tensors; the bound is {MAX_TENSORS}")
    key, tensors = "", dict[str, TensorInfo]()
    try:
        for key in sorted(document):
            tensors[key] = _entry(document[key])
    except ValueError as error:
        raise _bad(path, f"tensor {key[:_SHOWN]!r} {error}", (key,)) from error
    start = 8 + len(raw)
    size = start + _length_of(path, tensors)
    if file_size is not None and size != file_size:
        how = "it is cut off, or cut short" if size > file_size else "bytes follow the last tensor"
        raise _bad(path, f"its tensors take {size - start} bytes, but {file_size - start} are there: {how}")
    return Header(path, size, MappingProxyType(tensors), MappingProxyType(metadata), data_start=start)


def _bad(path: Path, what: str, keys: tuple[str, ...] = ()) -> ExpertError:
    return ExpertError(f"{path}: not a sound safetensors file: {what}", path=str(path), keys=keys)


def _pickle(path: Path) -> ExpertError:
    text = "is a pickle, which can run code when it is opened; DiffGraph opens safetensors only. Convert it first"
    return ExpertError(f"{path} {text}", path=str(path))


def _gguf(path: Path) -> ExpertError:
    text = "is GGUF, a quantised format of another kind, which is not read; DiffGraph opens safetensors only: take the"
    return ExpertError(f"{path} {text} bfloat16 or float16 .safetensors file of the same model", path=str(path))


def _document(path: Path, raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise _bad(path, "its header is not the JSON it should be (not a JSON object)")
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_object)
        if isinstance(document, dict):
            "".join(document).encode("utf-8")  # half a surrogate pair is no text: it could be neither shown nor written
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"its header is not the JSON it should be ({str(error)[:_SHOWN]})") from error
    if not isinstance(document, dict):
        raise _bad(path, "it holds no tensors")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | TensorInfo:
    """A JSON object: a sound entry becomes a tensor at once, so that nothing else is kept of it. ValueError for a name
    that is given twice.
    """
    if len(pairs) == 3:
        (first, dtype), (second, shape), (third, offsets) = pairs
        if first == "dtype" and second == "shape" and third == "data_offsets" and type(dtype) is str:
            try:
                return _tensor(dtype, shape, offsets)
            except ValueError:
                pass  # said later, together with the tensor's name
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:_SHOWN]!r} is named twice")
    return out


def _metadata(path: Path, value: object) -> dict[str, str]:
    """The metadata; null, which the safetensors library reads too, is as good as none."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _bad(path, "its __metadata__ is not a map of strings")
    try:
        size = sum(len(name.encode()) + len(text.encode()) for name, text in value.items())
    except UnicodeEncodeError as error:
        raise _bad(path, "its __metadata__ is no text") from error
    if size > MAX_METADATA_BYTES:
        raise _bad(path, f"its __metadata__ takes {size} bytes; the bound is {MAX_METADATA_BYTES}")
    return value


def _entry(entry: Any) -> TensorInfo:
    """One entry of a header, checked. Raises ValueError that says what is wrong with it."""
    if isinstance(entry, TensorInfo):
        return entry
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("lacks dtype, shape or data_offsets, or has more than these")
    return _tensor(entry["dtype"], entry["shape"], entry["data_offsets"])


def _tensor(dtype: Any, shape: Any, offsets: Any) -> TensorInfo:
    """A tensor from the values of its entry. Raises ValueError as `_entry`."""
    bits = BITS.get(dtype) if type(dtype) is str else None
    if bits is None:
        raise ValueError(f"has dtype {str(dtype)[:_SHOWN]!r}, which is not understood")
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise ValueError("has a malformed shape")
    for side in shape:
        if type(side) is not int or not 0 <= side < _MAX_NUMBER:
            raise ValueError("has a malformed shape")
        bits *= side
    if type(offsets) is not list or len(offsets) != 2:
        raise ValueError("has malformed data_offsets")
    start, end = offsets
    if type(start) is not int or type(end) is not int or not 0 <= start <= end < _MAX_NUMBER:
        raise ValueError("has malformed data_offsets")
    if bits != 8 * (end - start):
        raise ValueError(f"of {dtype} and shape {shape} does not fill its byte range")
    return TensorInfo(dtype, tuple(shape), start, end)


def _length_of(path: Path, tensors: Mapping[str, TensorInfo]) -> int:
    """Bytes of all tensors, whose ranges must follow each other without gap or overlap."""
    at = 0
    for start, end, key in sorted([(info.start, info.end, key) for key, info in tensors.items()]):
        if start != at:
            how = "overlaps the tensor before it" if start < at else "leaves a gap before it"
            raise _bad(path, f"tensor {key[:_SHOWN]!r} {how}", (key,))
        at = end
    return at
