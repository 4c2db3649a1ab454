"""Tool: is a plan going to work? Answered from file headers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..merging.plan.check import check
from .context import Context
from .tool import Args, tool


class PlanArgs(Args):
    plan_id: str = Field(
        default="", max_length=64, description="what propose_plan returned; empty: the plan of this round"
    )


@tool("check_plan", agents=("planner",))
def check_plan(ctx: Context, args: PlanArgs) -> dict[str, Any]:
    """Check a proposed plan against the base and the experts' files: family, content hash, kind, coverage, method."""
    plan = ctx.load_plan(args.plan_id or ctx.job.plan_id)
    known = {e.id: e.base_family for e in ctx.store.experts()}
    report = check(plan, ctx.machinery.index, ctx.locate, families=known)
    return {
        "plan_id": plan.plan_id,
        "ok": report.ok,
        "problems": [p.model_dump(mode="json") for p in report.problems],
        "coverage": {e.id: round(e.coverage, 4) for e in report.experts},
        "targets": report.targets,
    }
