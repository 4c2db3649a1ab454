"""Is a plan going to work? Answered from file headers alone: no weights are read and torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..errors import DiffGraphError
from .base import BaseIndex
from .formats.registry import check_shapes, detect, expert_files
from .identity import Locate, located, pin_base, pin_experts
from .methods.registry import make
from .plan import MergePlan, PlanExpert
from .report import coverage_problem
from .weights import BlockWeights

Code = Literal["base", "method", "experts", "family", "file", "coverage", "blocks", "trigger", "weight"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Frozen):
    """One thing that is wrong (``fatal``) or odd about a plan. ``expert`` is an id, or "" for the plan itself."""

    code: Code
    message: str
    expert: str = ""
    fatal: bool = True


class ExpertCheck(_Frozen):
    """What the header of one expert says. ``coverage`` is the share of its targets that the base has."""

    id: str
    kind: str
    rank: int | None
    targets: int
    missing: tuple[str, ...]
    coverage: float
    size_bytes: int


class CheckReport(_Frozen):
    """The outcome: ``ok`` if nothing is fatal. ``targets`` counts the weights that the plan would change."""

    plan_id: str
    ok: bool
    problems: tuple[Problem, ...]
    experts: tuple[ExpertCheck, ...]
    targets: int

    def sentences(self) -> str:
        """The problems, one a line, fatal ones first."""
        ordered = sorted(self.problems, key=lambda p: not p.fatal)
        return "\n".join(problem.message for problem in ordered)


def check(
    plan: MergePlan, base: BaseIndex | Path, locate: Locate, *, families: Mapping[str, str] | None = None
) -> CheckReport:
    """Check a plan against its base and its experts' files.

    Args:
        plan: the plan.
        base: the base, or its folder.
        locate: gives the local file of an expert.
        families: expert id -> base family as the graph knows it; compared with the plan's where given.

    Returns:
        Every problem found, not only the first. Raises UserError only where the base itself is missing.
    """
    index = base if isinstance(base, BaseIndex) else BaseIndex.open(base)
    problems: list[Problem] = []
    checks: list[ExpertCheck] = []
    touched: set[str] = set()
    try:
        pin_base(plan, index)
    except DiffGraphError as error:
        problems.append(Problem(code="base", message=str(error)))
    try:
        make(plan.method)
    except DiffGraphError as error:
        problems.append(Problem(code="method", message=str(error)))
    try:
        pin_experts(plan)
    except DiffGraphError as error:
        problems.append(Problem(code="experts", message=str(error)))
    for spec in plan.experts:
        found, targets, wrong = _expert(spec, plan, index, locate, families or {})
        problems += wrong
        touched |= targets
        if found is not None:
            checks.append(found)
    ok = not any(problem.fatal for problem in problems)
    return CheckReport(
        plan_id=plan.plan_id, ok=ok, problems=tuple(problems), experts=tuple(checks), targets=len(touched)
    )


def _expert(
    spec: PlanExpert, plan: MergePlan, base: BaseIndex, locate: Locate, families: Mapping[str, str]
) -> tuple[ExpertCheck | None, set[str], list[Problem]]:
    """(what its header says, the targets it would change, what is wrong with it)."""
    problems: list[Problem] = []
    if (family := families.get(spec.id)) is not None and family != plan.base.family:
        message = f"expert {spec.id} is for base family {family}, the plan is for {plan.base.family}"
        problems.append(Problem(code="family", message=message, expert=spec.id))
    if spec.weight == 0.0:
        message = f"expert {spec.id} has weight 0, so it is not used"
        problems.append(Problem(code="weight", message=message, expert=spec.id, fatal=False))
    if spec.trigger and spec.trigger.lower() not in plan.prompt.lower():
        message = f"the trigger {spec.trigger!r} of expert {spec.id} is not in the prompt"
        problems.append(Problem(code="trigger", message=message, expert=spec.id, fatal=False))
    try:
        files = expert_files(located(spec, locate))
        fmt, kind = detect(files[0])
        infos = fmt.targets(files, base)
        missing = check_shapes(files[0], infos, base)
    except DiffGraphError as error:
        problems.append(Problem(code="file", message=f"expert {spec.id}: {error}", expert=spec.id))
        return None, set(), problems
    if text := coverage_problem(spec.id, tuple(infos), missing, plan.allow_partial):
        problems.append(Problem(code="coverage", message=text, expert=spec.id))
    targets = set(infos) - set(missing)
    try:
        blocks = BlockWeights(spec, base)
        targets = {target for target in targets if spec.weight * blocks.factor(target) != 0.0}
    except DiffGraphError as error:
        problems.append(Problem(code="blocks", message=str(error), expert=spec.id))
    found = ExpertCheck(
        id=spec.id,
        kind=kind,
        rank=fmt.rank(files[0]),
        targets=len(infos),
        missing=missing,
        coverage=1.0 - len(missing) / len(infos),
        size_bytes=sum(header.size_bytes for header in files),
    )
    return found, targets, problems
