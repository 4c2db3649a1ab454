"""The formats an expert file may have, which of them a file is, and the one way to read it. Imports no torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from ...bases.index import COMPONENTS, BaseIndex, component_files
from ...errors import ExpertError, PlanError, UserError
from ...files.header import FLOATS, FileKind, Header, read_header
from ...plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ...files.mapped_file import MappedFile
    from ..deltas.delta import Delta
    from ..engine.batched_factors import Stack

_REGISTRY: Registry[Format] = Registry("adapter format", "diffgraph.formats", __package__ or "", error=PlanError)


@dataclass(frozen=True)
class TargetInfo:
    """What a file says it does to one target, from its header alone.

    Attributes:
        keys: the tensor names that make up the delta.
        rows: outputs of the delta (first dimension of the weight).
        columns: inputs of the delta (product of the weight's other dimensions).
    """

    keys: tuple[str, ...]
    rows: int
    columns: int


class Format(ABC):
    """One layout of expert files. Subclasses are stateless; `register` makes one instance."""

    name: ClassVar[str]

    @abstractmethod
    def detect(self, header: Header) -> FileKind | None:
        """The kind of expert this header describes, or None if it is not this format's. Names and shapes only."""

    @abstractmethod
    def rank(self, header: Header) -> int | None:
        """The largest rank in the file, or None where rank has no meaning."""

    @abstractmethod
    def targets(self, files: Sequence[Header], base: BaseIndex) -> dict[str, TargetInfo]:
        """Which targets the file changes. Every key is accounted for, or ExpertError names those that are not."""

    @abstractmethod
    def read(self, files: Sequence[Header], base: BaseIndex) -> dict[str, Delta]:
        """The canonical deltas by target, scale folded in once. Raises ExpertError as `targets`, and for NaN/Inf."""


F = TypeVar("F", bound=type[Format])


def register(cls: F) -> F:
    """Class decorator: make this format known. A taken or malformed name fails at import."""
    _REGISTRY.add(cls.name, cls())
    return cls


def formats() -> dict[str, Format]:
    """All formats by name."""
    return _REGISTRY.items()


def detect(header: Header) -> tuple[Format, FileKind]:
    """The one format that knows this header, and the kind it says.

    Raises:
        ExpertError: no format knows the keys, or more than one claims them.
    """
    claims = [(fmt, kind) for fmt in formats().values() if (kind := fmt.detect(header)) is not None]
    if len(claims) == 1:
        return claims[0]
    if claims:
        kinds = ", ".join(kind for _, kind in claims)
        raise expert_error(header, f"mixes keys of several kinds ({kinds}); that is not understood")
    raise expert_error(header, "has keys of no known expert kind", header.keys)


def expert_error(header: Header, what: str, keys: Sequence[str] = ()) -> ExpertError:
    """An ExpertError about a file; at most five keys are spelled out in the message, all are in ``.keys``."""
    shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
    return ExpertError(f"{header.path} {what}{': ' + shown if keys else ''}", path=str(header.path), keys=tuple(keys))


@dataclass(frozen=True)
class ExpertDelta:
    """An expert, read: what it does to each target of the base it was read against.

    Attributes:
        path: the file or folder.
        format: name of the format.
        kind: kind of expert.
        rank: largest rank, or None.
        deltas: target -> delta (float32); targets that the base lacks are included.
        missing: targets that the base lacks.
    """

    path: Path
    format: str
    kind: FileKind
    rank: int | None
    deltas: Mapping[str, Delta]
    missing: tuple[str, ...] = ()
    _norms: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def norm(self, target: str | None = None) -> float:
        """Frobenius norm of one target's delta, or of all applicable ones together (remembered)."""
        if target is None:
            return math.sqrt(math.fsum(self.norm(name) ** 2 for name in self.deltas if name not in self.missing))
        if target not in self._norms:
            self._norms[target] = self.deltas[target].norm()
        return self._norms[target]

    @property
    def nbytes(self) -> int:
        return sum(delta.nbytes for delta in self.deltas.values())

    @cached_property
    def sources(self) -> frozenset[MappedFile]:
        """The files that its deltas are still views of."""
        terms = (term for delta in self.deltas.values() for term in delta.factors)
        return frozenset(term.source for term in terms if term.source is not None)

    @cached_property
    def places(self) -> Mapping[str, tuple[Stack, int]]:
        """Target -> the stack that its delta lies in and which entry it is; targets that lie in none are left out."""
        terms = ((target, delta.single) for target, delta in self.deltas.items())
        return {t: (term.stack, term.index) for t, term in terms if term is not None and term.stack is not None}

    @property
    def coverage(self) -> float:
        """Share of the expert's targets that the base has."""
        return 1.0 - len(self.missing) / len(self.deltas) if self.deltas else 0.0

    @property
    def energy_coverage(self) -> float:
        """Share of the expert's delta energy (squared norm) that lies in targets the base has."""
        lost = math.fsum(self.norm(name) ** 2 for name in self.missing)
        kept = self.norm() ** 2
        return kept / (kept + lost) if kept else 0.0


def expert_files(path: Path | str) -> tuple[Header, ...]:
    """The headers of an expert given as a file, as a component folder, or as a diffusers folder with ``unet/`` in it.

    Raises:
        ExpertError: nothing there, or a folder with several files none of which is the obvious one.
    """
    path = Path(path)
    if not path.is_dir():
        return (read_header(path),)
    folders = [path / name for name in COMPONENTS if name != "vae" and (path / name).is_dir()]
    try:
        found = [file for folder in (folders or [path]) for file in component_files(folder)]
    except UserError as error:
        raise ExpertError(str(error), path=str(path)) from error
    if not found:
        raise ExpertError(f"{path} holds no safetensors file", path=str(path))
    return tuple(read_header(file) for file in found)


def read_expert(path: Path | str, base: BaseIndex, kind: str | None = None) -> ExpertDelta:
    """Read an expert into canonical deltas against ``base``.

    Args:
        path: a ``.safetensors`` file, or a diffusers folder for a full fine-tune.
        base: the base pipeline the expert is read against (names, shapes, and for a checkpoint the weights).
        kind: the kind it should be, as its node in the graph says; None accepts any.

    Raises:
        ExpertError: anything about the file that is not exactly understood; the message names file and keys.
    """
    files = expert_files(path)
    fmt, found = detect(files[0])
    if kind is not None and kind != found:
        raise expert_error(files[0], f"is a {found}, not the {kind} it was said to be")
    infos = fmt.targets(files, base)
    missing = check_shapes(files[0], infos, base)
    deltas = fmt.read(files, base)
    return ExpertDelta(Path(path), fmt.name, found, fmt.rank(files[0]), dict(sorted(deltas.items())), missing)


def check_shapes(header: Header, infos: Mapping[str, TargetInfo], base: BaseIndex) -> tuple[str, ...]:
    """The targets the base lacks. Raises ExpertError for targets it has in another shape (another family's expert)."""
    wrong: list[str] = []
    missing: list[str] = []
    for target, info in sorted(infos.items()):
        shape = base.shape(target)
        if shape is None:
            missing.append(target)
        elif not _fits(shape, info):
            wrong.append(target)
    if wrong:
        info, shape = infos[wrong[0]], base.shape(wrong[0])
        keys = tuple(key for target in wrong for key in infos[target].keys)
        what = (
            f"does not fit this base (another family?): {wrong[0]} is {shape}, its delta {info.rows} x {info.columns}"
        )
        raise expert_error(header, what, keys)
    return tuple(missing)


def _fits(shape: tuple[int, ...], info: TargetInfo) -> bool:
    return bool(shape) and (shape[0], math.prod(shape[1:])) == (info.rows, info.columns)


def load_tensors(header: Header, keys: Sequence[str], file: MappedFile | None = None) -> dict[str, Tensor]:
    """The named tensors in float32, finite or refused; ``file`` saves opening it once more."""
    import torch

    from ..deltas.delta import all_finite

    file = file or map_file(header, keys)
    out = {key: file.tensor(key).to(torch.float32, copy=True) for key in keys}
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


def map_file(header: Header, keys: Sequence[str]) -> MappedFile:
    """The file, mapped, for tensors to be taken as they stand in it. Raises ExpertError if ``keys`` are not floats."""
    from ...files.mapped_file import MappedFile

    if odd := [key for key in keys if header.tensors[key].dtype not in FLOATS]:
        raise expert_error(header, f"holds tensors of dtype {header.tensors[odd[0]].dtype} where floats belong", odd)
    return MappedFile(header)
