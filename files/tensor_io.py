"""Safetensors by the slice: read rows of a tensor without mapping the file, write a file tensor by tensor.

Reading is by ``read`` and not by ``mmap``, whose pages would count as this process's memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import UserError
from .dtypes import header_dtype, torch_dtype
from .header import BITS, Header
from .mapped_file import scaled

if TYPE_CHECKING:
    from torch import Tensor

HASH_KEY = "modelspec.hash_sha256"
"""Where a file says the sha256 of its tensors' bytes (Stability's ModelSpec), as ``0x`` and 64 hex digits."""
COPY_BYTES = 4 * 2**20


class RowReader:
    """Rows of the tensors of one file, in their own dtype. Keeps no tensor and maps nothing.

    Raises:
        UserError: the file cannot be read, or is shorter than its header said when it was opened; a dtype with which
            nothing is computed.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        ends = [*header.tensors.values(), *(scale.info for scale in header.scales.values())]
        self._data = header.data_start or header.size_bytes - max(info.end for info in ends)

    def rows(self, key: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows ``start`` to ``stop`` of a tensor (along its first dimension; a tensor without one is one row)."""
        import torch

        info = self.header.tensors[key]
        count = info.shape[0] if info.shape else 1
        stop = count if stop is None else stop
        row = (info.end - info.start) // count if count else 0
        raw = torch.empty((stop - start) * row, dtype=torch.uint8)
        self._fill(raw, self._data + info.start + start * row)
        shape = (stop - start, *info.shape[1:]) if info.shape else ()
        return raw.view(torch_dtype(info.dtype, key)).reshape(shape)

    def values(self, key: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows of a tensor in float32, multiplied with its scale where it has one."""
        import torch

        rows = self.rows(key, start, stop).to(torch.float32)
        if (scale := self.header.scales.get(key)) is None:
            return rows
        raw = torch.empty(scale.info.end - scale.info.start, dtype=torch.uint8)
        self._fill(raw, self._data + scale.info.start)
        stored = raw.view(torch_dtype(scale.info.dtype, scale.key))
        return scaled(rows, stored if stored.numel() == 1 else stored[start : start + rows.shape[0]])

    def chunks(self, key: str, size: int) -> Iterable[Tensor]:
        """The bytes of a tensor, at most ``size`` at a time."""
        import torch

        info = self.header.tensors[key]
        for at in range(info.start, info.end, size):
            raw = torch.empty(min(size, info.end - at), dtype=torch.uint8)
            self._fill(raw, self._data + at)
            yield raw

    def _fill(self, raw: Tensor, offset: int) -> None:
        path = self.header.path
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                view, done = raw.numpy().data, 0
                while done < len(view):
                    if not (got := file.readinto(view[done:])):
                        raise UserError(f"{path} became shorter while it was read")
                    done += got
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class TensorEntry:
    """One tensor to be written: its name, its dtype as headers name it, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BITS[self.dtype] // 8


class RowWriter:
    """Writes a safetensors file front to back: the header at once, then the entries' bytes in order.

    Equal entries, metadata and bytes give equal files. The order is that of the safetensors library (wider dtypes
    first, then by name), so every tensor is aligned.

    Args:
        file: where to, at position 0; readable too.
        entries: the tensors; see `ordered`.
        metadata: strings for ``__metadata__``; the hash of the tensors' bytes is added under `HASH_KEY` by `finish`.
    """

    def __init__(self, file: BinaryIO, entries: Sequence[TensorEntry], metadata: Mapping[str, str]) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._left = sum(entry.nbytes for entry in entries)
        head = header_bytes(entries, metadata)
        self._hash_at = head.index(_NO_HASH.encode()) + 2
        file.write(head)

    def write(self, tensor: Tensor) -> None:
        """The next bytes: a contiguous CPU tensor, whole or some rows of it."""
        import torch

        view = tensor.contiguous().flatten().view(torch.uint8).numpy().data
        self._left -= len(view)
        self._digest.update(view)
        self._file.write(view)

    def finish(self) -> str:
        """Put the hash of the tensors' bytes into the header, and give it. ValueError if the entries are not full."""
        if self._left:
            raise ValueError(f"{self._left} bytes of the tensors promised in the header are not written")
        self._file.seek(self._hash_at)
        self._file.write(self._digest.hexdigest().encode())
        return self._digest.hexdigest()


_NO_HASH = "0x" + "-" * 64


def ordered(entries: Iterable[TensorEntry]) -> list[TensorEntry]:
    """Wider dtypes first, then by name."""
    return sorted(entries, key=lambda entry: (-BITS[entry.dtype], entry.name))


def header_bytes(entries: Sequence[TensorEntry], metadata: Mapping[str, str]) -> bytes:
    """Length and header of a file of ``entries`` in that order, padded to 8 bytes, the hash still blank."""
    if len({entry.name for entry in entries}) != len(entries) or HASH_KEY in metadata:
        raise ValueError("two tensors of one name, or a hash given beforehand")
    # The blank hash comes first, so that its place is the first of its kind whatever else the metadata says.
    document: dict[str, object] = {"__metadata__": {HASH_KEY: _NO_HASH, **dict(sorted(metadata.items()))}}
    at = 0
    for entry in entries:
        offsets = [at, at + entry.nbytes]
        document[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
        at = offsets[1]
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def file_size(entries: Sequence[TensorEntry], metadata: Mapping[str, str]) -> int:
    """How many bytes the file will have."""
    return len(header_bytes(entries, metadata)) + sum(entry.nbytes for entry in entries)


def entries_of(tensors: Mapping[str, Tensor]) -> list[TensorEntry]:
    """The entries of tensors that are all at hand, in order."""
    return ordered(
        TensorEntry(name, header_dtype(tensor.dtype), tuple(tensor.shape)) for name, tensor in tensors.items()
    )


def write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write tensors that are all at hand; gives the sha256 of their bytes."""
    entries = entries_of(tensors)
    writer = RowWriter(file, entries, metadata)
    for entry in entries:
        writer.write(tensors[entry.name])
    return writer.finish()


def copy_file(source: Path, file: BinaryIO) -> None:
    """Copy a file's bytes. Raises UserError if it cannot be read."""
    try:
        opened = source.open("rb")
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}") from error
    with opened:
        while block := opened.read(COPY_BYTES):
            file.write(block)
