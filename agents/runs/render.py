"""A plan at hand drawn as it stands, edited or not: checked, merged, sampled; no brain and no critic look at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from ...errors import PlanError, UserError
from ...graph.experts.expert import Frozen
from ...merging.plan.check import check
from ...merging.plan.merge_plan import MergePlan
from ...settings import Settings, user_path
from ...tools.events import Emit, silent
from ...tools.merge_and_sample import sample_all
from ...tools.plan_inputs import PlanInputs, open_inputs, read_plan_file
from .. import answer
from . import folder

PLAN = "plan.json"


class Rendered(Frozen):
    """What was drawn.

    Attributes:
        run_dir: where it lies: the images and ``plan.json``.
        plan: with the seeds that were drawn.
        images: the PNGs, in order of those seeds; each carries the plan.
        notes: what is odd about the plan and does not hinder it.
    """

    run_dir: Path
    plan: MergePlan
    images: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """One JSON document."""
        return {"plan_id": self.plan.plan_id, **self.model_dump(mode="json")}


def render_plan(
    plan: MergePlan | Path | str,
    *,
    out: Path | str | None = None,
    n: int | None = None,
    seed: int | None = None,
    base: str | None = None,
    experts: Sequence[Path] = (),
    settings: Settings | None = None,
    on_event: Emit | None = None,
) -> Rendered:
    """Draw a plan as it stands: its bytes are compared with what it pins, its experts with the base, then it is merged
    and sampled.

    Args:
        plan: a plan, its file, or a PNG of ours that carries it.
        out: the folder for images and plan: new, empty, or of an earlier run; None takes a fresh one under
            ``settings.root / "runs"``.
        n: how many images; None: as many as the plan has seeds.
        seed: of the first image, the others follow it; None: the plan's seeds.
        base: a base by name, folder, file or id on the Hub; None: the one that the plan was made for.
        experts: folders to look for the experts' files in, by sha256, before the graph is asked.
        settings: where and how; read from the environment if None.
        on_event: told of what happens, while it happens.

    Raises:
        UserError: no plan, a base or an expert's file that is not here, a folder that cannot be written to.
        PlanError: a plan that cannot be carried out; every reason is in the message.
    """
    made = with_seeds(plan if isinstance(plan, MergePlan) else read_plan_file(user_path(plan)), n, seed)
    with open_inputs(base, experts, made, settings=settings, emit=on_event or silent) as inputs:
        notes = _checked(inputs, made)
        run_dir = _folder(Path(out)) if out is not None else folder.new(inputs.ctx.settings.root, made.prompt)
        paths = sample_all(inputs.ctx, [made], batch_size=1, locate=inputs.finder)[0]
        names = [f"image_{one}.png" for one in made.seeds]
        for name, path in zip(names, paths, strict=True):
            folder.put_image(run_dir, name, path)
        made.save(run_dir / PLAN)
        inputs.ctx.say("written", f"{answer.counted(names)} in {run_dir}", images=names)
    return Rendered(run_dir=run_dir, plan=made, images=tuple(run_dir / name for name in names), notes=notes)


def with_seeds(plan: MergePlan, n: int | None, seed: int | None) -> MergePlan:
    """The plan with other seeds: ``n`` from ``seed`` on, or from its own.

    Raises:
        UserError: a number or a seed that cannot be.
    """
    count = len(plan.seeds) if n is None else answer.checked_n(n)
    if seed is not None:
        first = answer.checked_seed(seed)
        seeds = tuple((first + at) % 2**32 for at in range(count))
    else:
        more = range(1, 1 + max(0, count - len(plan.seeds)))
        seeds = (plan.seeds + tuple((plan.seeds[-1] + at) % 2**32 for at in more))[:count]
    return plan if seeds == plan.seeds else plan.model_copy(update={"seeds": seeds})


def _checked(inputs: PlanInputs, plan: MergePlan) -> tuple[str, ...]:
    """What is odd about a plan. Raises PlanError or UserError where it cannot be carried out."""
    ctx = inputs.ctx
    if ctx.machinery.base.sha256 != plan.base.sha256:
        raise UserError(
            f"The plan is for the base {plan.base.ref} ({plan.base.family}, sha256 {plan.base.sha256[:12]}…), which is "
            f"not known here; the base in force is {ctx.machinery.base.ref}. Say --base with its folder, file or id on "
            "the Hub, or make it known: diffgraph base add PATH_OR_ID."
        )
    report = check(plan, ctx.machinery.index, inputs.finder, families=inputs.known(plan).families)
    wrong = [problem.message for problem in report.problems if problem.fatal]
    if wrong:
        raise PlanError("The plan cannot be carried out: " + "; ".join(wrong) + ".")
    return tuple(problem.message for problem in report.problems)


def _folder(path: Path) -> Path:
    """A folder for images and plan: new, empty, or with an earlier plan of ours, whose images are replaced."""
    path = user_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {found.name for found in path.iterdir()}
        if names and PLAN not in names:
            raise UserError(f"{path} holds files that are not a run of DiffGraph. Name a new or empty folder.")
        for old in path.glob("image_*.png"):
            old.unlink()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return path
