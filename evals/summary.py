"""The figures of an image suite, as ``summary.json`` holds them and reports lay them out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from .stats import Estimate

ALL = "all prompts"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Cell(_Frozen):
    """One arm in one group of prompts; means are None where no answer has the figure."""

    joint: Estimate
    facets: dict[str, float]
    harmonic: float | None = None
    critic: float | None = None
    similarity: float | None = None
    metrics: dict[str, float] = {}
    made: float | None = None
    errors: int
    images: int


class Test(_Frozen):
    """The reference against one arm: difference, p of a paired permutation test, and p after Holm's correction."""

    __test__ = False

    difference: Estimate
    p: float
    p_holm: float


class Told(_Frozen):
    """What an arm is called, and how reports treat it; an arm that is no longer known has no kind."""

    title: str
    kind: str = ""


class Summary(_Frozen):
    """Everything the tables show.

    Attributes:
        groups: group -> arm -> figures.
        reference: the arm that others are compared with.
        tests: group -> arm -> the reference against it. Holm's correction runs over the arms of a kind: that ours is
            ahead of every control is one claim, and how it stands to bounds, methods and its own parts is no part of
            it.
        methods: likewise over all prompts, the plain sum against every other merge method.
        arms: arm -> what it is.
        styles: group -> style -> arm -> joint accuracy; only groups with several styles.
    """

    groups: dict[str, dict[str, Cell]]
    reference: str | None = None
    tests: dict[str, dict[str, Test]] = {}
    methods: dict[str, Test] = {}
    arms: dict[str, Told] = {}
    styles: dict[str, dict[str, dict[str, Estimate]]] = {}
