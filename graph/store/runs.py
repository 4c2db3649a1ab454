"""What the graph remembers of past requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

from pydantic import Field

from ..experts.expert import Frozen
from ..relations.relation import Relation


class RunRecord(Frozen):
    """One finished request. Ids, hashes and numbers only, never an image.

    Attributes:
        run_id: unique; recording the same id twice changes nothing.
        weights: expert id -> weight as merged.
        score: the critic's, 0..1.
        created: ISO 8601 time, UTC.
    """

    run_id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    plan_id: str = ""
    family: str = ""
    prompt: str = ""
    weights: dict[str, float] = Field(default_factory=dict)
    score: float | None = None
    accepted: bool = False
    uncovered: tuple[str, ...] = ()
    created: str = ""


def used_together(runs: Iterable[RunRecord]) -> list[Relation]:
    """``used-together`` edges: how many accepted runs merged both experts."""
    pairs: Counter[tuple[str, str]] = Counter()
    for run in runs:
        if run.accepted:
            pairs.update(combinations(sorted(run.weights), 2))
    return [
        Relation(a=a, b=b, kind="used-together", value=float(n), note="accepted runs")
        for (a, b), n in sorted(pairs.items())
    ]
