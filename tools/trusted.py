"""Which calibrations count: on a base of open vocabulary only those whose critic is known, for that one fitted it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import DiffGraphError
from ..graph.calibration.record import Calibration
from ..graph.experts.expert import Expert
from .context import Context


def trusts(ctx: Context) -> Callable[[Calibration], bool]:
    """Tells of a calibration (one that the graph hands out for this base) whether it counts.

    A base of closed vocabulary trusts the graph that came along with it. On an open one the calibration must say who
    judged; if a critic is at work, it must be that one.
    """
    if ctx.profile.vocabulary == "closed":
        return lambda calibration: True

    def by_fitting(calibration: Calibration) -> bool:
        said = calibration.base and calibration.critic
        return bool(said) and calibration.critic == (_judge(ctx) or calibration.critic)

    return by_fitting


def latest(ctx: Context, expert: Expert) -> Calibration | None:
    """The last calibration of an expert's present file that counts; None if nothing was measured."""
    counts = trusts(ctx)
    found = [c for c in ctx.store.calibrations(expert.id) if c.expert_sha256 == expert.sha256 and counts(c)]
    return found[-1] if found else None


def _judge(ctx: Context) -> str:
    """Identity of the critic at work; "" if none is, or if it cannot be asked."""
    try:
        return ctx.critic.identity
    except DiffGraphError:
        return ""
