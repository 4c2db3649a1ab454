"""What a merge did, JSON-plain. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExpertReport(_Frozen):
    """What was applied of one expert.

    ``coverage`` is the share of its targets that the base has, ``energy_coverage`` the share of its squared delta norm
    in them; ``norm`` is the Frobenius norm of what applies, before the plan's weight (None if it was not measured).
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


def coverage_problem(expert: str, targets: Sequence[str], missing: Sequence[str], allow_partial: bool) -> str | None:
    """A sentence if too little of an expert fits the base, else None. Nothing at all is never allowed."""
    if not missing:
        return None
    names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
    if len(missing) == len(targets):
        return f"nothing of expert {expert} fits this base; it changes {names}"
    if allow_partial:
        return None
    share = 1 - len(missing) / len(targets)
    return (
        f"only {share:.0%} of expert {expert} fits this base (set allow_partial to merge it anyway); missing: {names}"
    )
