"""Merge methods: pure functions from several experts' deltas at one target to one delta. Imports no torch."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import PlanError
from ...plugins import Registry
from ..plan.merge_plan import Method

if TYPE_CHECKING:
    from ..deltas.delta import Delta


class Params(BaseModel):
    """Parameters of a method: frozen, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Part(NamedTuple):
    """One expert's part at one target. ``key`` (its sha256) orders the parts; ``weight`` is not yet applied.

    ``whole_norm`` gives the Frobenius norm of the whole expert; without it, this target is taken to be all there is.
    """

    key: str
    facet: str
    weight: float
    delta: Delta
    whole_norm: Callable[[], float] | None = None

    def expert_norm(self) -> float:
        """Frobenius norm of all deltas of this expert together, unweighted."""
        return self.delta.norm() if self.whole_norm is None else self.whole_norm()


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

    Weights scale the task vectors before a method looks at them, unless its docstring says otherwise.
    """

    name: ClassVar[str]
    reference_url: ClassVar[str]
    space: ClassVar[Literal["delta", "weight"]] = "delta"
    symmetric: ClassVar[bool] = True
    """False if the facets of the experts give them different roles."""
    seeded: ClassVar[bool] = False
    """True if the result depends on the seed, which the engine derives from the method's parameters and the target."""
    sums: ClassVar[bool] = False
    """True if `combine` gives the sum of the parts' deltas, each times its weight, and no more."""
    low_rank: ClassVar[bool] = False
    """True if parts in factors are merged without forming a full matrix; a merge then takes less memory and time."""
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

    def combine_many(self, groups: Sequence[Sequence[Part]], seeds: Sequence[int]) -> list[Delta]:
        """`combine` at several targets that are alike (`alike`), in one batch where the method can; else one by one."""
        return [self.combine(parts, seed) for parts, seed in zip(groups, seeds, strict=True)]

    def merge(self, parts: Sequence[Part], seed: int = 0) -> Delta | None:
        """Merge any number of parts; None if none of them has a weight."""
        return self.merge_many([parts], [seed])[0]

    def merge_many(self, groups: Sequence[Sequence[Part]], seeds: Sequence[int] | None = None) -> list[Delta | None]:
        """`merge` at several targets; those that are alike go to the method together, as many as are given.

        On the CPU each comes out bit for bit as `merge` alone gives it.

        Args:
            groups: the parts at each target.
            seeds: a seed a target, for seeded methods; all 0 if not given.

        Returns:
            The merged deltas in the order of ``groups``, None where nothing has a weight.
        """
        out: list[Delta | None] = [None] * len(groups)
        batches: dict[tuple[object, ...], list[int]] = {}
        active = [sorted((p for p in parts if p.weight != 0.0), key=lambda part: part.key) for parts in groups]
        for index, parts in enumerate(active):
            if len(parts) == 1:
                out[index] = parts[0].delta.scaled(parts[0].weight)
            elif parts:
                batches.setdefault(alike(parts), []).append(index)
        for batch in batches.values():
            some_seeds = [0 if seeds is None else seeds[index] for index in batch]
            for index, delta in zip(batch, self.combine_many([active[i] for i in batch], some_seeds), strict=True):
                out[index] = delta
        return out


def alike(parts: Sequence[Part]) -> tuple[object, ...]:
    """What must agree for targets to share a batch: shape, number of parts, and the rank of each (None if full)."""
    return parts[0].delta.shape, *(part.delta.rank for part in parts)


_REGISTRY: Registry[type[MergeMethod]] = Registry(
    "merge method", "diffgraph.merge_methods", __package__ or "", error=PlanError
)

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


def seed_of(context: str, name: str) -> int:
    """A seed from two names: 63 bits of sha256(context:name).

    The engine seeds a target by (method with its parameters, target), and a method each part by (that seed, part's
    key). So what is drawn for an expert does not change with its company, its place in the plan, or the prompt.
    """
    return int.from_bytes(hashlib.sha256(f"{context}:{name}".encode()).digest()[:8], "big") >> 1
