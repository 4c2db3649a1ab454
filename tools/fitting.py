"""Whether an expert fits the base, by the names and shapes in its file's header, whatever its family is called."""

from __future__ import annotations

from ..errors import DiffGraphError
from ..graph.experts.expert import Expert
from ..merging.plan.check import check
from ..merging.plan.merge_plan import MergePlan, PlanExpert
from .context import Context


def misfit(ctx: Context, expert: Expert) -> str:
    """Why an expert cannot be merged into the base here, as a sentence; "" if it can. One of the base's own family is
    believed until its plan is checked.
    """
    if expert.kind == "base":
        return f"{expert.id} is a base, which is merged into nothing"
    if expert.base_family == ctx.family:
        return ""
    member = PlanExpert(id=expert.id, ref=str(expert.ref), sha256=expert.sha256, weight=1.0)
    plan = MergePlan(base=ctx.machinery.base, experts=(member,), prompt="", sampler=ctx.sampler(), seeds=(0,))
    try:
        report = check(plan, ctx.machinery.index, ctx.locate)
    except DiffGraphError as error:
        return str(error)
    wrong = [p.message for p in report.problems if p.fatal]
    return f"{expert.id} is for base family {expert.base_family}, not for {ctx.family}: {wrong[0]}" if wrong else ""
