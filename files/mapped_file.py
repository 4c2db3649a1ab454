"""Tensors of a safetensors file as views of the file, mapped into memory: nothing is copied until it is used.

What is mapped belongs to the page cache: many processes share it, and the kernel takes it back when memory runs short.
Pages that were touched still count as this process's memory until `MappedFile.release` gives them up; they are mapped
again, from the page cache, when they are next read.
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExpertError
from .dtypes import torch_dtypes
from .header import Header

if TYPE_CHECKING:
    from torch import Tensor


def scaled(values: Tensor, scale: Tensor) -> Tensor:
    """``values * scale`` in float32: one number for all, or one for each row."""
    import torch

    flat = scale.to(torch.float32).flatten()
    return values * (flat.reshape(()) if flat.numel() == 1 else flat.reshape(-1, *[1] * (values.dim() - 1)))


@dataclass(frozen=True)
class _Stamp:
    """Changes when the bytes of a file may have changed."""

    size: int
    changed_ns: int
    device: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> _Stamp:
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_dev, stat.st_ino)


class MappedFile:
    """One file, mapped whole, privately: a write to a tensor would stay in this process, and none is ever made.

    Args:
        header: the checked header of the file, whole or cut down to some of its tensors.

    Raises:
        ExpertError: the file cannot be opened, or is no longer the one that the header was read from.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        path = header.path
        try:
            with path.open("rb") as file:
                self._stamp = _Stamp.of(os.fstat(file.fileno()))
                if self._stamp.size != header.size_bytes:
                    raise ExpertError(f"{path}: changed while it was read", path=str(path))
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise ExpertError(f"{path}: cannot be read: {error.strerror or error}", path=str(path)) from error
        self._start = 8 + int.from_bytes(self._map[:8], "little")  # the header may be cut down to some tensors

    @property
    def path(self) -> Path:
        return self.header.path

    def tensor(self, key: str) -> Tensor:
        """A tensor as it stands in the file: a view, in the file's dtype. Not to be written to.

        Raises:
            ExpertError: a dtype that nothing is computed with.
        """
        import torch

        info = self.header.tensors[key]
        dtype = torch_dtypes().get(info.dtype)
        if dtype is None:
            what = f"holds {info.dtype}, with which nothing is computed here: {key}"
            raise ExpertError(f"{self.path} {what}", path=str(self.path), keys=(key,))
        if info.numel == 0:
            return torch.empty(info.shape, dtype=dtype)
        at = self.offset(key)
        if at % dtype.itemsize:  # a header whose length is odd: such a view would be misaligned, so it is copied
            raw = torch.frombuffer(self._map, dtype=torch.uint8, count=info.end - info.start, offset=at)
            return raw.clone().view(dtype).reshape(info.shape)
        return torch.frombuffer(self._map, dtype=dtype, count=info.numel, offset=at).reshape(info.shape)

    def values(self, key: str) -> Tensor:
        """A tensor's values in float32, multiplied with its scale where it has one: a copy.

        Raises:
            ExpertError: as `tensor`.
        """
        import torch

        values = self.tensor(key).to(torch.float32, copy=True)
        if (scale := self.header.scales.get(key)) is None:
            return values
        raw = torch.frombuffer(
            self._map, dtype=torch.uint8, count=scale.info.end - scale.info.start, offset=self._start + scale.info.start
        )
        stored = raw.clone().view(torch_dtypes()[scale.info.dtype])
        return scaled(values, stored)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of what was mapped, whatever the path leads to by now."""
        return self._stamp.device, self._stamp.inode

    def offset(self, key: str) -> int:
        """Where in the file a tensor's bytes begin."""
        return self._start + self.header.tensors[key].start

    def unchanged(self) -> bool:
        """Whether the file is still the one that was mapped: neither replaced nor written to since."""
        try:
            return _Stamp.of(self.path.stat()) == self._stamp
        except OSError:
            return False

    def release(self, key: str | None = None) -> None:
        """Give up the memory of a tensor's pages (of all pages, by default). They are read again when next needed."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        if key is None:
            self._map.madvise(mmap.MADV_DONTNEED)
            return
        info = self.header.tensors[key]
        first = (self._start + info.start) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_DONTNEED, first, self._start + info.end - first)


_AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)", re.M)
_COPIED = re.compile(r"^(?:Anonymous|Swap): +([1-9]\d*) kB", re.M)


class MappedAreas:
    """Where this process has mapped files, by whomever, without having written there.

    Loaders map a file, too, rather than copy it: a tensor that is found to be the file's own bytes need not be read to
    tell what it is. On Linux; elsewhere nothing is ever found.
    """

    def __init__(self) -> None:
        self._areas: list[tuple[int, int, int, tuple[int, int]]] = []
        try:
            text = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
        except OSError:  # no Linux, or one that keeps this to itself
            text = ""
        found = list(_AREA.finditer(text))
        ends = [*(area.start() for area in found), len(text)][1:]
        for this, after in zip(found, ends, strict=True):
            start, end, offset, major, minor = (int(part, 16) for part in this.groups()[:5])
            inode = int(this[6])
            if inode and not _COPIED.search(text, this.end(), after):
                self._areas.append((start, end, offset, (os.makedev(major, minor), inode)))

    def shows(self, tensor: Tensor, file: MappedFile, key: str) -> bool:
        """Whether a tensor's memory is that of ``key`` in the file, mapped and never written to; False if unsure."""
        at, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
        if not tensor.is_contiguous() or size == 0:
            return False
        return any(
            start <= at and at + size <= end and at - start + offset == file.offset(key)
            for start, end, offset, identity in self._areas
            if identity == file.identity
        )
