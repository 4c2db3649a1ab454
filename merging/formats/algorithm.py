"""How one module's tensors make up its delta: an adapter algorithm (LoRA, LoHa, LoKr, OFT, …), one file each.

`adapter` splits a file into modules, finds out which weights of the base they mean and what they are scaled with; an
algorithm only knows the tensors of one module. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeVar

from ...errors import PlanError
from ...files.header import Header
from ...plugins import Registry
from .format import expert_error

if TYPE_CHECKING:
    from torch import Tensor

    from ...errors import ExpertError
    from .adapter_config import AdapterConfig

_REGISTRY: Registry[Algorithm] = Registry(
    "adapter algorithm", "diffgraph.adapter_algorithms", __package__ or "", error=PlanError
)
COMMON: Mapping[str, str] = MappingProxyType(
    {"alpha": "alpha", "dora_scale": "magnitude", "lora_magnitude_vector": "magnitude"}
    | {"diff_b": "bias_diff", "b_norm": "bias_diff"}
)
"""Parts that may stand beside any algorithm's -> role."""
_CLAIMED: dict[str, str] = dict.fromkeys((*COMMON, *COMMON.values(), "bias"), "every algorithm")


@dataclass(frozen=True)
class Module:
    """The tensors of one adapted module as they stand in the file.

    Attributes:
        header: header of the file.
        name: the module as the file writes it.
        roles: role -> tensor name; roles are those of the algorithms plus "alpha", "magnitude", "bias", "bias_diff".
    """

    header: Header
    name: str
    roles: Mapping[str, str]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self.roles.values()))

    def shape(self, role: str) -> tuple[int, ...]:
        return self.header.tensors[self.roles[role]].shape

    def error(self, what: str) -> ExpertError:
        """An ExpertError that names this module's keys."""
        return expert_error(self.header, what, self.keys)


@dataclass(frozen=True)
class Sizes:
    """What the shapes of a module's tensors say.

    Attributes:
        rows: outputs of the delta.
        columns: inputs of the delta, kernel positions included.
        rank: what alpha is divided by, or None where alpha has no say.
    """

    rows: int
    columns: int
    rank: int | None


@dataclass(frozen=True)
class Inputs:
    """What an algorithm may use to compute a module's delta.

    Attributes:
        tensors: role -> float32 tensor, finite.
        scale: what the delta is multiplied with (alpha/rank and its kin).
        shape: shape of the weight that the delta is added to.
        base: the base's weight as a float32 (rows, columns) matrix; read from disk when called.
        config: PEFT's configuration for the component, if the file carries one.
    """

    tensors: Mapping[str, Tensor]
    scale: float
    shape: tuple[int, ...]
    base: Callable[[], Tensor]
    config: AdapterConfig | None


@dataclass(frozen=True)
class Update:
    """``up @ down``, or ``full``: (rows, r) and (r, columns), or (rows, columns); float32, scale folded in."""

    up: Tensor | None = None
    down: Tensor | None = None
    full: Tensor | None = None

    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        if self.up is not None and self.down is not None:
            return self.up.shape[0], self.down.shape[1]
        assert self.full is not None
        return self.full.shape[0], self.full.shape[1]

    def matrix(self) -> Tensor:
        if self.up is not None and self.down is not None:
            return self.up @ self.down
        assert self.full is not None
        return self.full


class Algorithm(ABC):
    """One way to write a module's delta. Subclasses are stateless; `register` makes one instance."""

    name: ClassVar[str]
    kind: ClassVar[str]
    reference_url: ClassVar[str]
    parts: ClassVar[Mapping[str, str]]
    """Last words of tensor names -> role. Roles belong to one algorithm only."""
    more_roles: ClassVar[tuple[str, ...]] = ()
    """Roles that only `alias` gives."""
    precedence: ClassVar[int] = 50
    """Of the algorithms in a file, the one with the lowest number gives the file its kind."""
    peft_type: ClassVar[str | None] = None
    """The ``peft_type`` of a configuration that may stand beside these tensors."""
    relative: ClassVar[bool] = False
    """True if the delta is a function of the base's weight."""
    low_rank: ClassVar[bool] = False
    """True if `update` always gives factors, and never a full matrix."""

    @classmethod
    def roles(cls) -> frozenset[str]:
        """The roles that are this algorithm's own."""
        return frozenset((*cls.parts.values(), *cls.more_roles))

    def plain(self, module: Module) -> bool:
        """Whether a module's delta is ``scale * up @ down`` of its tensors of these roles, so that they can stay in the
        file. Asked only of modules that have no others but alpha.
        """
        return False

    def alias(self, key: str) -> tuple[str, str] | None:
        """(module, role) of a key that does not end in one of `parts`, or None. For older spellings."""
        return None

    def shows_adapter(self, module: Module) -> bool:
        """Whether a module's tensors are found in adapters only, and not in checkpoints as well."""
        return True

    @classmethod
    def kinds(cls) -> frozenset[str]:
        """Every kind that `file_kind` may say."""
        return frozenset((cls.kind,))

    def file_kind(self, modules: list[Module]) -> str:
        """The kind of a file whose kind this algorithm decides."""
        return self.kind

    def rank(self, module: Module) -> int | None:
        """The rank to report, or None."""
        return self.sizes(module, None).rank

    @abstractmethod
    def sizes(self, module: Module, weight: tuple[int, ...] | None) -> Sizes:
        """Sizes by shapes alone; ``weight`` is the base's shape, None if unknown. ExpertError if parts do not fit."""

    def check(self, module: Module, columns: int, config: AdapterConfig | None) -> None:  # noqa: B027 (may stay empty)
        """Raise ExpertError for what only the configuration and the number of inputs show; by default nothing."""

    @abstractmethod
    def update(self, module: Module, inputs: Inputs) -> Update:
        """The delta. Shapes were checked by `sizes`."""


A = TypeVar("A", bound=type[Algorithm])


def register(cls: A) -> A:
    """Class decorator: make this algorithm known. A taken or malformed name, or no reference, fails at import."""
    if not cls.reference_url.startswith("https://"):
        raise ValueError(f"adapter algorithm {cls.name!r} needs a reference_url")
    if shared := [word for word in {*cls.parts, *cls.roles()} if _CLAIMED.get(word, cls.name) != cls.name]:
        raise ValueError(f"adapter algorithms {cls.name!r} and {_CLAIMED[shared[0]]!r} both claim {sorted(shared)}")
    _REGISTRY.add(cls.name, cls())
    _CLAIMED.update(dict.fromkeys((*cls.parts, *cls.roles()), cls.name))
    return cls


def algorithms() -> dict[str, Algorithm]:
    """All adapter algorithms by name."""
    return _REGISTRY.items()


def is_low_rank(rank: int, rows: int, columns: int) -> bool:
    """Do factors of this rank take less memory than the matrix?"""
    return rank * (rows + columns) < rows * columns
