"""What happens on the device, with no brain in it: merge, sample, and the images that ours is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from langgraph.types import Command

from ..errors import BudgetExceeded, ExpertError, ExternalError, PlanError
from ..merging.plan.merge_plan import MergePlan
from ..tools.check_plan import PlanArgs
from ..tools.context import Context
from ..tools.merge_and_sample import image_paths, merge, merge_and_sample, sample_all
from ..tools.score_images import score_files, summary, wanted_by
from .agent import job_of
from .answer import counted
from .planner import blame, sent_back
from .runs import folder, page
from .state import Comparison, State


class Drawing:
    """Nodes ``merge``, ``sample`` and ``compare``. The engine belongs to the context: one owner of the device."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def merge(self, state: State) -> Command[Literal["sample", "planner", "record", "finish"]]:
        """Make the base's weights those of the plan. Images that were made before need no merge."""
        plan = self.ctx.load_plan(state.plan_id)
        if image_paths(self.ctx, plan) is not None:
            self.ctx.say("kept", "these images were made before", plan_id=plan.plan_id)
            return Command(goto="sample")
        try:
            done = merge(self.ctx, plan)
        except (PlanError, ExpertError) as error:
            return sent_back(state, [blame([e.id for e in plan.experts], error)])
        count = len(plan.experts)
        self.ctx.say(
            "merged",
            f"merged {count} expert{'' if count == 1 else 's'} into {done.targets} weights ({plan.method.name})",
            targets=done.targets,
            norm=done.delta_norm,
        )
        return Command(goto="sample")

    def sample(self, state: State) -> Command[Literal["critic", "planner", "record", "finish"]]:
        """Sample the plan's images, unless they are there."""
        plan = self.ctx.load_plan(state.plan_id)
        try:
            done = merge_and_sample(self.ctx.with_job(job_of(state)), PlanArgs(plan_id=plan.plan_id))
        except (PlanError, ExpertError) as error:
            return sent_back(state, [blame([e.id for e in plan.experts], error)])
        self.ctx.say("sampled", counted(done.images), images=list(done.images))
        return Command(goto="critic", update=State(images=done.images, agent="", messages=(), idle=0))

    def compare(self, state: State) -> Command[Literal["__end__"]]:
        """The same prompt and seed by the base alone and by each expert alone, scored alike if anybody judges; then
        the page once more.
        """
        plan = self.ctx.load_plan(state.plan_id)
        others = alone(plan)
        if others:
            paths = [paths[0] for paths in sample_all(self.ctx, [p for _, p in others], batch_size=1)]
            made: list[Comparison] = []
            for (label, other), path in zip(others, paths, strict=True):
                name = folder.put_image(state.run_dir, f"compare_{len(made)}.png", path)
                made.append(Comparison(label=label, file=name, plan_id=other.plan_id))
            if state.scores is not None:
                made = self._scored(state, made, [other for _, other in others], paths)
            state = state.changed(State(comparison=tuple(made)))
        page.write(self.ctx, state)
        return Command(goto="__end__", update=State(comparison=state.comparison))

    def _scored(
        self, state: State, made: list[Comparison], plans: Sequence[MergePlan], paths: Sequence[Path]
    ) -> list[Comparison]:
        """The comparisons with what the critic says of them; as they are where it fails."""
        try:
            verdicts = score_files(self.ctx, paths, wanted_by(job_of(state)))
        except (ExternalError, BudgetExceeded) as error:
            self.ctx.say("critic failed", f"What is compared with is not judged. {error}")
            return made
        summaries = (summary(plan.plan_id, plan.seeds, [v]) for plan, v in zip(plans, verdicts, strict=True))
        return [one.model_copy(update=dict(scored)) for one, scored in zip(made, summaries, strict=True)]


def alone(plan: MergePlan) -> list[tuple[str, MergePlan]]:
    """Plans to compare with: the bare base if any expert was merged, each expert alone if several were."""
    if not plan.experts:
        return []
    seeds = plan.seeds[:1]
    base = plan.model_copy(update={"experts": (), "seeds": seeds, "method": plan.method.__class__()})
    single = [
        (e.id, plan.model_copy(update={"experts": (e,), "seeds": seeds, "method": plan.method.__class__()}))
        for e in plan.experts
        if len(plan.experts) > 1
    ]
    return [("base alone", base), *single]
