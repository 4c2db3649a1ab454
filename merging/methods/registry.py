"""Merge methods: pure functions from several experts' deltas at one target to one delta. Imports no torch."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import PlanError
from ..plan import Method
from ..registry import Registry

if TYPE_CHECKING:
    from ..delta import Delta


class Params(BaseModel):
    """Parameters of a method: frozen, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Part:
    """One expert's part at one target. ``key`` (its sha256) orders the parts; ``weight`` is not yet applied."""

    key: str
    facet: str
    weight: float
    delta: Delta


@dataclass(frozen=True)
class Whole:
    """One expert as a whole, for methods that balance experts before they look at single targets.

    ``norm()`` is the Frobenius norm of all its deltas together, computed when asked for.
    """

    key: str
    facet: str
    weight: float
    norm: Callable[[], float]


P = TypeVar("P", bound=Params)


class MergeMethod(ABC, Generic[P]):
    """A merge method with its parameters.

    Identities that hold for every method, because `merge` sees to them: parts of weight 0 are as if absent; where a
    single part is left there is nothing to resolve and it is taken as it is, times its weight; parts are sorted by
    key, so their order never matters.
    """

    name: ClassVar[str]
    reference_url: ClassVar[str]
    space: ClassVar[Literal["delta", "weight"]] = "delta"
    symmetric: ClassVar[bool] = True
    """False if the facets of the experts give them different roles."""
    seeded: ClassVar[bool] = False
    """True if the result depends on the seed, which the engine draws from (plan_id, target)."""
    rowwise: ClassVar[bool] = False
    """True if rows of a full-rank merge depend on the same rows of the parts only, so a merge may work by rows."""
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: P) -> None:
        self.params = params

    def weights(self, experts: Sequence[Whole]) -> list[float]:
        """The weights that go into every target, given all experts of non-zero weight; as they are, by default."""
        return [expert.weight for expert in experts]

    @abstractmethod
    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        """Merge two or more parts of non-zero weight, sorted by key, all of one shape."""

    def merge(self, parts: Sequence[Part], seed: int = 0) -> Delta | None:
        """Merge any number of parts; None if none of them has a weight."""
        active = sorted((part for part in parts if part.weight != 0.0), key=lambda part: part.key)
        if not active:
            return None
        if len(active) == 1:
            return active[0].delta.scaled(active[0].weight)
        return self.combine(active, seed)


_REGISTRY: Registry[type[MergeMethod]] = Registry("merge method", __package__ or "", "diffgraph.merge_methods")

M = TypeVar("M", bound=type[MergeMethod])


def register(cls: M) -> M:
    """Class decorator: make this method known. A taken or malformed name, or a missing reference, fails at import."""
    if not cls.reference_url.startswith("https://"):
        raise ValueError(f"merge method {cls.name!r} needs a reference_url")
    _REGISTRY.add(cls.name, cls)
    return cls


def methods() -> dict[str, type[MergeMethod]]:
    """All merge methods by name."""
    return _REGISTRY.items()


def make(method: Method) -> MergeMethod:
    """The method a plan names, with its parameters checked.

    Raises:
        PlanError: unknown name (with the closest known ones), or parameters that are not its own or out of range.
    """
    cls = _REGISTRY.get(method.name)
    try:
        params = cls.Params.model_validate(method.params)
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise PlanError(f"merge method {method.name!r} was given bad parameters: {what}") from error
    return cls(params)


def seed_of(plan_id: str, target: str) -> int:
    """The seed of a seeded method at one target: 63 bits of sha256(plan_id:target)."""
    return int.from_bytes(hashlib.sha256(f"{plan_id}:{target}".encode()).digest()[:8], "big") >> 1
