"""What a format of expert files is: how it is told by its header, which weights it changes, what it does to them.

Which format a file has says `detect`, how an expert is read `read`. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from ...bases.index import BaseIndex
from ...errors import ExpertError, PlanError
from ...files.header import Header
from ...plugins import Registry

if TYPE_CHECKING:
    from ..deltas.delta import Delta

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
    holds_weights: ClassVar[bool] = False
    """True if its files hold weights themselves; a delta is then the difference from the base's."""

    def low_rank(self, header: Header) -> bool:
        """Whether the deltas of weights are factors, so that no full matrix is formed; not so unless a format says so.

        It only decides how much memory a merge is taken to need.
        """
        return False

    def kinds(self) -> frozenset[str]:
        """The kinds of expert that this format brings along; `detect` may also say one that another format brings.

        By default a format is a kind of its own, called as it is.
        """
        return frozenset((self.name,))

    @abstractmethod
    def detect(self, header: Header) -> str | None:
        """The kind of expert this header describes, or None if it is not this format's. Names and shapes only."""

    @abstractmethod
    def rank(self, header: Header) -> int | None:
        """The largest rank in the file, or None where rank has no meaning."""

    def notes(self, files: Sequence[Header], base: BaseIndex) -> tuple[str, ...]:
        """What was decided about the files that its user should know, as sentences; nothing unless a format says so."""
        return ()

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


def expert_error(header: Header, what: str, keys: Sequence[str] = ()) -> ExpertError:
    """An ExpertError about a file; at most five keys are spelled out in the message, all are in ``.keys``."""
    shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
    return ExpertError(f"{header.path} {what}{': ' + shown if keys else ''}", path=str(header.path), keys=tuple(keys))
