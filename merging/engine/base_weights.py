"""The base's weights, as they were loaded: what every merge starts from, and what nothing ever writes to.

On the CPU they stay in their files, mapped: a base then costs no memory beside the merged weights, because pages that
a merge has read are given back at once. On other devices they stay where they were loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...bases.index import BaseIndex
from ...errors import ExpertError, UserError
from ...files.header import FLOATS, read_header
from ...files.mapped_file import MappedAreas, MappedFile
from .arithmetic import norm


@dataclass(frozen=True)
class _StoredWeight:
    """Where a weight stands in its file, and what it was loaded as."""

    file: MappedFile
    key: str
    dtype: torch.dtype


class BaseWeights(Mapping[str, Tensor]):
    """Target -> base weight, on the device and in the dtype of the pipeline. Read only.

    Every weight that is left to its file is first compared with what the pipeline made of it, bit for bit, unless that
    is the file's own memory; one that the pipeline's loader changed, or that no file has under that name, is kept in
    memory.

    Args:
        params: target -> the pipeline's parameter, as loaded. Those whose file holds their very bytes are pointed at
            the file, so that the copy that was loaded can go.
        base: index of the base's files.
        mapped: leave to the files what can be; else keep every weight in memory as it was loaded.
    """

    def __init__(self, params: Mapping[str, torch.nn.Parameter], base: BaseIndex, *, mapped: bool) -> None:
        self._names = tuple(params)
        self._stored: dict[str, _StoredWeight] = {}
        self._held: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}
        files: dict[Path, MappedFile] = {}
        areas = MappedAreas() if mapped else None
        for target, param in params.items():
            place = None if areas is None else _stored_weight(target, param, base, files, areas)
            if place is None:
                self._held[target] = param.data
                continue
            self._stored[target] = place
            if (stored := place.file.tensor(place.key)).dtype == param.dtype:
                param.data = stored
            self._norms[target] = norm(param.data)  # now, while whoever loads a base expects to wait
            place.file.release(place.key)
        self._files = tuple(files.values())

    def __getitem__(self, target: str) -> Tensor:
        place = self._stored.get(target)
        return self._held[target] if place is None else place.file.tensor(place.key).to(place.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def release(self, target: str) -> None:
        """Give back the memory that reading a weight took, where it can be read again."""
        if (place := self._stored.get(target)) is not None:
            place.file.release(place.key)

    def norm(self, target: str, weight: Tensor) -> float:
        """`arithmetic.norm` of a weight, measured once.

        Args:
            target: its name.
            weight: the weight itself, which the caller has at hand.
        """
        if target not in self._norms:
            self._norms[target] = norm(weight)
        return self._norms[target]

    def check(self) -> None:
        """Raise UserError if a file that the base is read from was changed under us."""
        for file in self._files:
            if not file.unchanged():
                raise UserError(f"{file.path} was changed while the base was in use: load the base again")


def _stored_weight(
    target: str, param: torch.nn.Parameter, base: BaseIndex, files: dict[Path, MappedFile], areas: MappedAreas
) -> _StoredWeight | None:
    """Where ``param`` can be read again, bit for bit; None if nowhere."""
    entry = base.params.get(target)
    if entry is None or param.device.type != "cpu":
        return None
    path, key, info = entry
    if info.shape != tuple(param.shape) or info.dtype not in FLOATS:
        return None
    if path not in files:
        try:
            files[path] = MappedFile(read_header(path))
        except ExpertError as error:
            raise UserError(f"the base pipeline is damaged: {error}") from error
    file = files[path]
    stored = file.tensor(key)
    same = stored.dtype == param.dtype and areas.shows(param.data, file, key)
    same = same or torch.equal(stored.to(param.dtype), param.data)
    file.release(key)
    return _StoredWeight(file, key, param.dtype) if same else None
