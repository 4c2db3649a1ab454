"""What a merge did, JSON-plain. Imports no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExpertReport(_Frozen):
    """What was applied of one expert.

    ``coverage`` is the share of its targets that the base has, ``energy_coverage`` the share of its squared delta norm
    in them; ``norm`` is the Frobenius norm of what applies, before the plan's weight (None if it was not measured);
    ``notes`` is what was decided about its file.
    """

    id: str
    kind: str
    rank: int | None
    weight: float
    targets: int
    missing: tuple[str, ...]
    coverage: float
    energy_coverage: float
    norm: float | None
    notes: tuple[str, ...] = ()


class MergeReport(_Frozen):
    """What `Engine.apply` did: targets merged in all, of those recomputed now, targets put back to the base.

    ``delta_norm`` is the Frobenius norm of all that was added to the base, None if it was not measured.
    """

    plan_id: str
    method: str
    experts: tuple[ExpertReport, ...]
    targets: int
    recomputed: int
    restored: int
    delta_norm: float | None
    seconds: float
