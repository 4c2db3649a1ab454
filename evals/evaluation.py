"""One evaluation at work: the running system and the judge, and what every arm does alike (pin, plan, draw)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from ..errors import ExpertError
from ..files.hashing import file_sha256
from ..graph.calibration.record import Calibration
from ..graph.experts.expert import Expert
from ..merging.engine.engine import Engine
from ..merging.plan.merge_plan import MergePlan, Method, PlanExpert
from ..scoring.metrics import Metric
from ..scoring.protocol import Critic, choice_identity
from ..tools.activate_experts import ActivateArgs, activate_experts
from ..tools.context import Context, Job
from ..tools.merge_and_sample import sample_all
from ..tools.propose_plan import ProposeArgs, propose_plan
from .judges.protocol import Judge
from .suites.items import Item
from .suites.suite import Truths


@dataclass(eq=False)
class Evaluation:
    """One engine, one critic, one judge, one graph for a whole evaluation.

    Attributes:
        ctx: the context that agents and tools run in.
        judge: decides what an image shows.
        joint: a LoRA trained jointly on the true combinations (an upper bound), if there is one.
        truths: gives true images for the similarity column, if the artwork is at hand.
        metrics: by name, what else is measured of every image.
    """

    ctx: Context
    judge: Judge
    joint: Path | None = None
    truths: Truths | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    _extra: dict[str, Path] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        return self.ctx.engine

    @property
    def critic(self) -> Critic:
        return self.ctx.critic

    @cached_property
    def experts(self) -> Mapping[str, Expert]:
        """Experts of the base's family in the graph, by id."""
        return {e.id: e for e in self.ctx.store.experts(self.ctx.family)}

    @cached_property
    def calibrations(self) -> Mapping[str, Calibration]:
        """The last calibration of each expert."""
        return {c.expert_id: c for c in self.ctx.store.calibrations()}

    def best_weight(self, expert_id: str) -> float:
        """The calibrated strength of an expert, 1 where it was never calibrated."""
        found = self.calibrations.get(expert_id)
        return found.best_weight if found is not None and found.best_weight > 0 else 1.0

    def pin(self, expert_id: str, weight: float, item: Item | None = None) -> PlanExpert:
        """A plan's entry for an expert, its facet and trigger taken from what ``item`` asks for.

        Raises:
            UserError: no such expert of this family.
        """
        expert = self.experts.get(expert_id) or self.ctx.store.expert(expert_id)
        asked = {(w.facet, w.text) for w in item.wanted} if item is not None else set()
        skill = next((s for s in expert.skills if (s.facet, s.name) in asked), None)
        facet = skill.facet if skill else (expert.skills[0].facet if expert.skills else "subject")
        return PlanExpert(
            id=expert.id, ref=str(expert.ref), sha256=expert.sha256, weight=round(weight, 4), facet=facet,
            trigger=skill.trigger if skill else "",
        )  # fmt: skip

    def pin_file(self, name: str, path: Path) -> PlanExpert:
        """An entry for a file that is in no graph. Raises ExpertError if it cannot be read."""
        try:
            digest = file_sha256(path)
        except OSError as error:
            raise ExpertError(f"{path} cannot be read: {error.strerror or error}", path=str(path)) from error
        self._extra[digest] = path
        return PlanExpert(id=name, ref=f"file:{path.name}", sha256=digest)

    def plan(
        self, item: Item, experts: Sequence[PlanExpert], seeds: Sequence[int], method: Method | None = None
    ) -> MergePlan:
        """A plan for the item's canonical prompt with the settings' sampler."""
        return MergePlan(
            base=self.ctx.machinery.base,
            experts=tuple(sorted(experts, key=lambda e: e.id)),
            method=method or Method(),
            prompt=item.canonical,
            sampler=self.ctx.sampler(len(experts)),
            seeds=tuple(seeds),
        )

    def proposed(self, item: Item, seeds: Sequence[int]) -> MergePlan | None:
        """The planner's default for the user's own words; None where it finds nothing to draw."""
        ctx = self.ctx.with_job(Job(prompt=item.prompt, n=1, seed=seeds[0]))
        activation = activate_experts(ctx, ActivateArgs(prompt=item.prompt))
        if not activation.facets:
            return None
        ctx = ctx.with_job(Job(prompt=item.prompt, n=1, seed=seeds[0], activation=activation))
        plan = ctx.load_plan(propose_plan(ctx, ProposeArgs()).plan_id)
        return plan.model_copy(update={"seeds": tuple(seeds)})

    def render(self, plans: Sequence[MergePlan]) -> list[list[Image.Image]]:
        """Images of every plan, one a seed, in order; what any arm has drawn before, plan and seed alike, is kept."""
        rows = [[plan.model_copy(update={"seeds": (seed,)}) for seed in plan.seeds] for plan in plans]
        drawn = iter(sample_all(self.ctx, [one for row in rows for one in row], locate=self._locate))
        return [[_opened(next(drawn)[0]) for _ in row] for row in rows]

    def _locate(self, expert: PlanExpert) -> Path:
        return self._extra.get(expert.sha256) or self.ctx.locate(expert)

    @cached_property
    def digest(self) -> str:
        """Hash over everything but plans that decides a result: base, graph, scorers, sampling settings."""
        return self._digest([choice_identity(self.critic), self.judge.digest])

    @cached_property
    def drawing_digest(self) -> str:
        """Hash over everything but plans that decides an image that no critic chose."""
        return self._digest([])

    def _digest(self, scorers: Sequence[str]) -> str:
        settings = self.ctx.settings
        samplers = [self.ctx.sampler(experts) for experts in (1, 2)]
        guidance = str([sampler.guidance for sampler in samplers])
        parts = [self.ctx.machinery.base.sha256, str(samplers[0].steps), guidance, settings.method]
        dtype = "float32" if settings.dtype == "auto" else settings.dtype
        parts += [dtype, str(settings.rounds), str(settings.accept), str(settings.sure)]
        parts.append(settings.brain)
        parts += scorers
        for e in self.experts.values():
            found = self.calibrations.get(e.id)
            looks = (sorted(found.unasked.items()), found.coarse) if found else ()
            parts.append(f"{e.id}:{e.sha256}:{self.best_weight(e.id)}:{looks}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
