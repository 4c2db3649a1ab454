"""How a look gets on with others: how much of its weight it should keep where the base lays a subject out.

A style or a scene that was trained alone writes into every block, also into those of the coarsest resolution, and there
over the shape that a subject's expert draws. Some looks do without them, some are lost. So it is measured, beside
experts of subjects that work and, every other time, an expert of another kind of look; what the critic says of all of
them counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, zip_longest

import numpy as np

from ..bases.layout_blocks import coarse_blocks
from ..errors import ExpertError, PlanError, ToolFailed
from ..graph.experts.expert import FACETS, THINGS, Expert, Skill
from ..merging.plan.merge_plan import MergePlan, PlanExpert
from ..scoring.request import Wanted
from .context import Context
from .merge_and_sample import image_path, sample_all
from .score_images import score_files
from .trusted import trusts

SEED = 0
_Member = tuple[Expert, Skill]


def with_coarse(ctx: Context, expert: PlanExpert, share: float) -> PlanExpert:
    """The expert with this share of its weight in the base's coarsest blocks; as it is where the base has none."""
    if share == 1.0:
        return expert
    blocks = dict.fromkeys(coarse_blocks(ctx.machinery.index.by_underscore.values()), round(share, 4))
    return expert.model_copy(update={"blocks": blocks})


def beside(ctx: Context, expert: PlanExpert, company: Sequence[PlanExpert]) -> PlanExpert:
    """The expert as it goes into a company: a look beside an expert of a subject with its measured share."""
    if expert.facet in THINGS or all(e.facet not in THINGS for e in company):
        return expert
    counts = trusts(ctx)
    found = [c for c in ctx.store.calibrations(expert.id) if c.expert_sha256 == expert.sha256 and counts(c)]
    return with_coarse(ctx, expert, found[-1].coarse if found else 1.0)


def coarse_of(expert: PlanExpert) -> float:
    """The share that `with_coarse` gave an expert of a plan; 1 if its blocks were left alone."""
    return next(iter(expert.blocks.values()), 1.0)


def look(expert: Expert) -> Skill | None:
    """The first skill that is no subject's, if there is one."""
    return next((skill for skill in expert.skills if skill.facet not in THINGS), None)


def parties(ctx: Context, expert: Expert) -> list[list[_Member]]:
    """The companies that a look is measured in, ``PairingRules.probes`` at most: a subject of another adapter that was
    found to work, all such adapters in turn; to every other one an adapter of another kind of look.
    """
    skill = look(expert)
    last = {(c.expert_id, c.expert_sha256): c for c in ctx.store.calibrations()}
    works = {expert_id for (expert_id, _), c in last.items() if c.verdict == "works"}
    pairs = {(r.a, r.b) for e in works for r in ctx.store.relations(e) if r.kind == "duplicate"}
    doubles = {max(pair) for pair in pairs if works.issuperset(pair)}
    rows: list[list[_Member]] = []
    looks: list[_Member] = []
    for other in sorted(ctx.store.experts(expert.base_family), key=lambda e: e.id):
        if other.id not in works - doubles - {expert.id} or other.kind in ("full", "base"):
            continue
        named = sorted((s for s in other.skills if s.facet in THINGS), key=lambda s: s.name)
        rows.append([(other, s) for s in named])
        other_look = look(other)
        if other_look is not None and skill is not None and other_look.facet != skill.facet:
            looks.append((other, other_look))
    in_turn = (one for turn in zip_longest(*rows) for one in turn if one is not None)
    subjects = islice(in_turn, ctx.profile.pairing.probes)
    return [[one, looks[i // 2 % len(looks)]] if looks and i % 2 else [one] for i, one in enumerate(subjects)]


def coarse_share(ctx: Context, expert: Expert, weight: float) -> float:
    """The share (of `PairingRules.shares`) with which the look and those beside it score best, over several companies.

    1, unmeasured, where there is no look, nobody to stand beside, or no coarsest block (`bases.layout_blocks`). Images
    are kept by plan id, so an interrupted measurement goes on where it stopped.

    Raises:
        ToolFailed: a file cannot be merged.
    """
    skill, companies = look(expert), parties(ctx, expert)
    if skill is None or not companies or not coarse_blocks(ctx.machinery.index.by_underscore.values()):
        return 1.0
    means: dict[float, float] = {}
    rules = ctx.profile.pairing
    for number, share in enumerate(rules.shares):
        details = {"expert": expert.id, "done": number, "total": len(rules.shares)}
        ctx.say("calibrate", f"{expert.id}: in company, {share:.0%} in the coarsest blocks", **details)
        plans = [_plan(ctx, (expert, skill), weight, share, party) for party in companies]
        try:
            sample_all(ctx, plans)
        except (PlanError, ExpertError) as error:
            raise ToolFailed(f"{expert.id} cannot be merged: {error}") from error
        scores = []
        for plan, party in zip(plans, companies, strict=True):
            wanted = [Wanted(facet=s.facet, text=s.name) for _, s in [*party, (expert, skill)]]
            scores.append(score_files(ctx, [image_path(ctx, plan.plan_id, SEED)], wanted)[0].score)
        means[share] = float(np.mean(scores))
    best = max(rules.shares, key=lambda share: means[share])
    return best if means[best] >= means[1.0] + rules.least_gain else 1.0


def _plan(ctx: Context, measured: _Member, weight: float, share: float, party: list[_Member]) -> MergePlan:
    own = with_coarse(ctx, _entry(*measured, min(1.0, weight)), share)
    triggers = [s.trigger or s.name for _, s in sorted([*party, measured], key=lambda m: FACETS.index(m[1].facet))]
    return MergePlan(
        base=ctx.machinery.base,
        experts=tuple(sorted([own, *(_entry(*member) for member in party)], key=lambda e: e.id)),
        prompt=", ".join(triggers),
        sampler=ctx.sampler(len(party) + 1),
        seeds=(SEED,),
    )


def _entry(expert: Expert, skill: Skill, weight: float = 1.0) -> PlanExpert:
    ref, trigger = str(expert.ref), skill.trigger
    return PlanExpert(id=expert.id, ref=ref, sha256=expert.sha256, weight=weight, facet=skill.facet, trigger=trigger)
