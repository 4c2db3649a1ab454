"""Memory for merged weights: every target has a place of its own, taken when first needed and written again after."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from threading import Lock, Thread

import numpy as np
import torch
from torch import Tensor

_CHUNK = 64 * 2**20
_ALIGN = 64


@dataclass
class _Chunk:
    memory: mmap.mmap
    used: int = 0


class MergedMemory:
    """Target -> a tensor to write its merged weight into, the same one every time.

    So a switch between plans allocates nothing. Memory is taken as targets are first merged, or by `prepare` before,
    and never given back: about the base's size at most. On Linux it is asked for in huge pages, which are first touched
    about five times as fast. On a virtual machine even that may take seconds a gigabyte, as the host gives memory back
    only when it is touched: more than the merge itself, so it is better done while something else is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._places: dict[str, Tensor] = {}
        self._chunks: list[_Chunk] = []
        self._touched: list[mmap.mmap] = []
        self._to_touch = 0
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        return sum(place.numel() * place.element_size() for place in self._places.values())

    def prepare(self, nbytes: int) -> Thread:
        """Begin to touch about so many bytes of what will be needed, in a thread that is returned: no one has to wait
        for it, and what it has not come to is touched when it is used. On the CPU only; elsewhere the thread does
        nothing.
        """
        self._to_touch = nbytes // _CHUNK if self._device.type == "cpu" else 0
        thread = Thread(target=self._touch, name="touch memory for merged weights", daemon=True)
        thread.start()
        return thread

    def of(self, target: str, like: Tensor) -> Tensor:
        """The place of a target; ``like`` gives shape and dtype, always the same for one target."""
        if target not in self._places:
            if self._device.type == "cpu":
                self._places[target] = self._carve(like)
            else:
                self._places[target] = torch.empty_like(like, memory_format=torch.contiguous_format)
        return self._places[target]

    def _carve(self, like: Tensor) -> Tensor:
        """A piece of the first chunk that has room, or of a new one."""
        size = like.numel() * like.element_size()
        if size == 0:
            return torch.empty_like(like)
        chunk = next((chunk for chunk in self._chunks if chunk.used + size <= len(chunk.memory)), None)
        if chunk is None:
            chunk = _Chunk(self._next_chunk(size))
            self._chunks.append(chunk)
        out = torch.frombuffer(chunk.memory, dtype=like.dtype, count=like.numel(), offset=chunk.used)
        chunk.used += -(-size // _ALIGN) * _ALIGN
        return out.reshape(like.shape)

    def _next_chunk(self, size: int) -> mmap.mmap:
        with self._lock:
            if size <= _CHUNK and self._touched:
                return self._touched.pop()
            self._to_touch = max(0, self._to_touch - -(-size // _CHUNK))  # faster than the thread: it has less to do
        return _anonymous(max(_CHUNK, size))

    def _touch(self) -> None:
        while True:
            with self._lock:
                if self._to_touch <= 0:
                    return
                self._to_touch -= 1
            chunk = _anonymous(_CHUNK)
            np.frombuffer(chunk, np.uint8)[:: mmap.PAGESIZE] = 0  # nobody has the chunk yet
            with self._lock:
                self._touched.append(chunk)


def _anonymous(size: int) -> mmap.mmap:
    """Fresh memory, which the system commits page by page as it is written."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        made.madvise(mmap.MADV_HUGEPAGE)
    return made
