"""Tool: measure what an expert really does, once for each file and set of circumstances."""

from __future__ import annotations

from pydantic import Field

from ..errors import ExpertError, NoCritic, ToolFailed, ToolRetry, UserError
from .context import Context
from .measure import known_calibration, measure, relate
from .results import Measured
from .tool import Args, tool


class CalibrateArgs(Args):
    expert_id: str = Field(min_length=1, max_length=200)


@tool("calibrate_expert")
def calibrate_expert(ctx: Context, args: CalibrateArgs) -> Measured:
    """Measure an expert on the reference prompts: gain over the base, fingerprint, best weight, verdict, overlap
    with others.

    Raises NoCritic where nobody can judge what the base draws.
    """
    if why := ctx.unjudged:
        raise NoCritic(f"Nothing can be measured, and nothing was recorded. {why}")
    try:
        expert = ctx.store.expert(args.expert_id)
    except UserError as error:
        raise ToolRetry(str(error)) from error
    found = known_calibration(ctx, expert)
    fresh = found is None
    if found is None:
        found = measure(ctx, expert)
        try:
            relations = relate(ctx, expert)
        except ExpertError as error:
            raise ToolFailed(f"{expert.id} cannot be read: {error}") from error
        # Written last: a calibration that stands in the graph is complete, its relations included.
        ctx.store.put_calibration(found)
        ctx.say("calibrated", f"{expert.id}: {found.verdict}, best at {found.best_weight:g}", expert=expert.id)
    else:
        if ctx.store.calibrations(expert.id)[-1:] != [found]:
            ctx.store.put_calibration(found, latest=True)
        relations = ctx.store.relations(expert.id)
    return Measured(
        expert=expert.id,
        fresh=fresh,
        verdict=found.verdict,
        best_weight=found.best_weight,
        gain=found.gain,
        strength_shift=found.strength_shift,
        consistency=found.consistency,
        duplicates=tuple(sorted(r.other(expert.id) for r in relations if r.kind == "duplicate")),
    )
