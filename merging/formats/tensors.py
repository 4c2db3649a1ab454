"""Tensors of an expert's file, in float32, finite or refused. No torch is imported before one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ...files.header import FLOATS, Header
from .format import expert_error

if TYPE_CHECKING:
    from torch import Tensor

    from ...files.mapped_file import MappedFile


def load_tensors(header: Header, keys: Sequence[str], file: MappedFile | None = None) -> dict[str, Tensor]:
    """The named tensors in float32, finite or refused; ``file`` saves opening it once more."""
    from ..deltas.factors import all_finite

    file = file or map_file(header, keys)
    out = {key: file.values(key) for key in keys}
    if bad := [key for key, tensor in out.items() if not all_finite(tensor)]:
        raise expert_error(header, "holds NaN or infinite values", bad)
    return out


class LazyTensors(Mapping[str, "Tensor"]):
    """Role -> float32 tensor of a file, read when it is asked for, finite or refused."""

    def __init__(self, file: MappedFile, roles: Mapping[str, str]) -> None:
        self._file, self._roles = file, roles
        self._read: dict[str, Tensor] = {}

    def __getitem__(self, role: str) -> Tensor:
        if role not in self._read:
            key = self._roles[role]
            self._read[role] = load_tensors(self._file.header, [key], self._file)[key]
        return self._read[role]

    def __contains__(self, role: object) -> bool:
        return role in self._roles

    def __iter__(self) -> Iterator[str]:
        return iter(self._roles)

    def __len__(self) -> int:
        return len(self._roles)


def check_floats(header: Header, keys: Iterable[str]) -> None:
    """Raise ExpertError for tensors that are no floats."""
    if odd := [key for key in keys if header.tensors[key].dtype not in FLOATS]:
        raise expert_error(header, f"holds tensors of dtype {header.tensors[odd[0]].dtype} where floats belong", odd)


def map_file(header: Header, keys: Iterable[str]) -> MappedFile:
    """The file, mapped, for tensors to be taken as they stand in it. Raises ExpertError if ``keys`` are not floats."""
    from ...files.mapped_file import MappedFile

    check_floats(header, keys)
    return MappedFile(header)
