"""Tool: remember a finished request in the graph."""

from __future__ import annotations

from pydantic import Field

from ..graph.store.runs import RunRecord
from .context import Context
from .results import RunRecorded
from .tool import Args, tool


class RecordArgs(Args):
    run_id: str = Field(min_length=1, max_length=120, pattern=r"^[A-Za-z0-9._-]+$")
    plan_id: str = Field(max_length=64)
    score: float = Field(ge=0.0, le=1.0)
    accepted: bool
    uncovered: list[str] = Field(default_factory=list, max_length=50)
    created: str = ""


@tool("record_run")
def record_run(ctx: Context, args: RecordArgs) -> RunRecorded:
    """Remember a run: which experts were merged at which weights, and how it was judged. The same id twice changes
    nothing.
    """
    plan = ctx.load_plan(args.plan_id)
    if any(run.run_id == args.run_id for run in ctx.store.runs()):
        return RunRecorded(run_id=args.run_id, recorded=False)
    ctx.store.record_run(
        RunRecord(
            run_id=args.run_id,
            plan_id=plan.plan_id,
            family=plan.base.family,
            prompt=ctx.job.prompt[:2000],
            weights={e.id: e.weight for e in plan.experts},
            score=args.score,
            accepted=args.accepted,
            uncovered=tuple(args.uncovered),
            created=args.created,
        )
    )
    return RunRecorded(run_id=args.run_id, recorded=True)
