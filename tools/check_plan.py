"""Tool: is a plan going to work? Answered from file headers."""

from __future__ import annotations

from pydantic import Field

from ..errors import DiffGraphError
from ..graph.experts.expert import SourceRef
from ..graph.experts.sources import Keeps
from ..merging.plan.check import CheckReport, Problem, check
from ..merging.plan.merge_plan import MergePlan, PlanExpert
from ..merging.plan.prompt_fit import prompt_notes
from .context import Context
from .tool import Args, Result, tool


class PlanArgs(Args):
    plan_id: str = Field(
        default="", max_length=64, description="what propose_plan returned; empty: the plan of this round"
    )


class PlanCheck(Result):
    """Whether a plan can be carried out: ``coverage`` is the share of each expert's targets that the base has,
    ``targets`` counts the weights that it would change.
    """

    plan_id: str
    ok: bool
    problems: tuple[Problem, ...]
    coverage: dict[str, float]
    targets: int


@tool("check_plan", agents=("planner",))
def check_plan(ctx: Context, args: PlanArgs) -> PlanCheck:
    """Check a proposed plan against the base and the experts' files: family, content hash, kind, coverage, method."""
    plan = ctx.load_plan(args.plan_id or ctx.job.plan_id)
    report = _report(ctx, plan)
    return PlanCheck(
        plan_id=plan.plan_id,
        ok=report.ok,
        problems=report.problems,
        coverage={e.id: round(e.coverage, 4) for e in report.experts},
        targets=report.targets,
    )


def problems_here(ctx: Context, plan: MergePlan) -> tuple[Problem, ...]:
    """What keeps experts of a plan from being merged, as far as it can be told from files that are on this machine:
    none is downloaded for it.
    """
    some = plan.model_copy(update={"experts": tuple(e for e in plan.experts if _is_here(ctx, e))})
    return tuple(problem for problem in _report(ctx, some).problems if problem.fatal and problem.expert)


def _report(ctx: Context, plan: MergePlan) -> CheckReport:
    known = {i: e.base_family for i, e in ctx.store.some(e.id for e in plan.experts).items() if e.kind != "base"}
    return check(plan, ctx.machinery.index, ctx.locate, families=known, prompt_limit=ctx.profile.prompt_limit)


def _is_here(ctx: Context, expert: PlanExpert) -> bool:
    try:
        ref = SourceRef.parse(expert.ref)
        source = ctx.source(ref.source)
        return isinstance(source, Keeps) and source.kept(ref) is not None
    except (ValueError, DiffGraphError):
        return True  # the check says what is wrong with it


def unread_words(ctx: Context, plan: MergePlan) -> tuple[str, ...]:
    """What of a plan's words the base does not read or obey, as sentences."""
    return prompt_notes(ctx.machinery.index.path, plan.prompt, plan.negative_prompt, ctx.profile.prompt_limit)
