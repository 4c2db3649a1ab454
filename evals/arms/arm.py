"""What an arm is, and the registry of arms.

An arm is a way of answering a prompt that an evaluation compares. It takes a few items at once, so that it can sample
them in common batches, and yields an answer for each item and seed. Controls get the canonical prompt and, where they
need a choice of experts, the planner's own: they can only lose by their weights, method or missing loop, not by
misreading the prompt.

Adding one: a file here, or a module of your own named by the entry-point group ``diffgraph.arms``, with a function
under ``@arm("name", "what it is")``. A suite's file names the arms that it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from ...errors import UserError
from ...merging.plan.merge_plan import MergePlan
from ...plugins import Registry
from ..evaluation import Evaluation
from ..suites.items import Item

Kind = Literal["control", "bound", "method", "ours"]
"""How reports treat an arm: a rival, an upper bound that knows the truth, one merge method of many, or ours."""
_KINDS: tuple[Kind, ...] = ("control", "bound", "method", "ours")


@dataclass(frozen=True)
class Answer:
    """One image of an arm for an item and a seed; ``made`` counts the images it sampled to get there.

    ``image`` is None where the arm gave none.
    """

    item: Item
    seed: int
    image: Image.Image | None
    plan: MergePlan
    made: int = 1


Run = Callable[[Evaluation, Sequence[Item], Sequence[int]], Iterator[Answer]]


@dataclass(frozen=True)
class Arm:
    """A registered arm; ``title`` says in reports what it is."""

    name: str
    title: str
    kind: Kind
    run: Run


@dataclass(frozen=True)
class Family:
    """Arms that are made when they are asked for: ``method:ties`` is the member ``ties`` of the family ``method``."""

    members: Callable[[], Iterable[str]]
    make: Callable[[str], Arm]


ARMS: Registry[Arm | Family] = Registry("arm", "diffgraph.arms", __package__ or "")


def arm(name: str, title: str, kind: Kind = "control") -> Callable[[Run], Run]:
    """Register an arm. A name twice is an error at import."""

    def add(run: Run) -> Run:
        ARMS.add(name, Arm(name, title, kind, run))
        return run

    return add


def family(name: str, members: Callable[[], Iterable[str]]) -> Callable[[Callable[[str], Arm]], Callable[[str], Arm]]:
    """Register a function that makes an arm of a member's name; ``members`` lists them."""

    def add(make: Callable[[str], Arm]) -> Callable[[str], Arm]:
        ARMS.add(name, Family(members, make))
        return make

    return add


def names() -> list[str]:
    """All arms that stand alone: controls, then bounds, then ours."""
    arms = [item for item in ARMS.items().values() if isinstance(item, Arm)]
    return [a.name for a in sorted(arms, key=lambda a: (_KINDS.index(a.kind), a.name))]


def get(name: str) -> Arm:
    """An arm by name; ``family:member`` is made for the occasion.

    Raises:
        UserError: unknown; the closest are named.
        DiffGraphError: the family's own, for a member that it does not have.
    """
    first, colon, member = name.partition(":")
    found = ARMS.get(first)
    if isinstance(found, Family):
        if not member:
            raise UserError(f"{first!r} is a family of arms: name one, or all of them by '{first}:*'.")
        return found.make(member)
    if colon:
        raise UserError(f"{first!r} is an arm and no family, so there is no {name!r}.")
    return found


def expanded(wanted: Sequence[str]) -> list[str]:
    """The names, each once, with ``family:*`` spelled out as an arm for every member."""
    out: list[str] = []
    for name in wanted:
        first, _, member = name.partition(":")
        found = ARMS.get(first) if member == "*" else None
        out += [f"{first}:{m}" for m in found.members()] if isinstance(found, Family) else [name]
    return list(dict.fromkeys(out))
