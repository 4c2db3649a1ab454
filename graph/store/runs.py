"""What the graph remembers of past requests."""

from __future__ import annotations

from pydantic import Field

from ..experts.expert import Frozen


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
