"""Tool: write a merge plan. Whatever a brain proposes is validated here against the graph before it becomes a plan."""

from __future__ import annotations

from collections.abc import Set

from pydantic import Field, JsonValue, ValidationError

from ..errors import PlanError, ToolFailed, ToolRetry, UserError
from ..graph.experts.expert import FACETS, Expert
from ..graph.reading.split import split
from ..graph.selection.activation import ActiveExpert
from ..graph.selection.open_vocabulary import PRIOR_WEIGHT, sampled_prompt
from ..merging.methods.method import make, methods
from ..merging.plan.merge_plan import MergePlan, Method, PlanExpert
from ..plugins import closest
from .context import Context
from .fitting import misfit
from .layout_share import beside, coarse_of, with_coarse
from .obeying import decoded_by, negative, sampled, seeded, why_no_negative
from .ordered_experts import plan_entry, ruled_out
from .results import ActivationResult, Proposal, ProposedExpert
from .tool import Args, tool
from .trusted import latest

MAX_EXPERTS = 8
MAX_WEIGHT = 2.0


class Choice(Args):
    id: str = Field(min_length=1, max_length=200, description="an expert id that a tool has shown")
    weight: float | None = Field(default=None, gt=0.0, le=MAX_WEIGHT, description="none: the solver's")
    trigger: str | None = Field(
        default=None, max_length=120, description="one of the expert's triggers; none: the activation's"
    )
    coarse: float | None = Field(
        default=None,
        ge=0.0,
        le=2.0,
        description="share of its weight in the base's coarsest blocks, which lay out subjects; none: the measured",
    )


class ProposeArgs(Args):
    experts: list[Choice] | None = Field(default=None, max_length=MAX_EXPERTS, description="none: the solver's choice")
    method: str | None = Field(default=None, max_length=60, description="a registered merge method; none: the default")
    params: dict[str, JsonValue] = Field(default_factory=dict, description="the method's parameters")
    guidance: float | None = Field(default=None, ge=0, le=20, description="guidance scale; none: the setting's")
    say: bool = Field(
        default=True, description="say every trigger; false: leave out that of one look that acts unasked"
    )
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1, description="first seed; none: the request's")


@tool("propose_plan", agents=("planner",), writes="proposal")
def propose_plan(ctx: Context, args: ProposeArgs) -> Proposal:
    """Propose the merge plan. Without arguments it is the solver's default for the activation. Returns the plan's
    id.
    """
    activation = ctx.job.activation
    if activation is None:
        raise ToolRetry("call activate_experts first: a plan is made for an activation")
    if not activation.plannable:
        raise ToolFailed("nothing in this prompt can be drawn, so there is nothing to plan")
    orders, default = activation.orders, {e.id: e for e in activation.experts}
    free = [Choice(id=i) for i in default] if args.experts is None else args.experts
    choices = _obedient(activation, free, ruled_out(ctx, orders))
    experts = [_expert(ctx, choice, default.get(choice.id), alone=len(choices) == 1) for choice in choices]
    if len({e.id for e in experts}) != len(experts):
        raise ToolRetry("an expert stands twice in the proposal: name each once")
    experts = [
        _laid_out(ctx, choice, expert, experts, default.get(choice.id))
        for choice, expert in zip(choices, experts, strict=True)
    ]
    method = _method(args, ctx.settings.method, orders.method)
    first = seeded(ctx, orders) if args.seed is None or orders.seed is not None else args.seed
    sampler = sampled(ctx, ctx.sampler(len(experts)), orders)
    if args.guidance is not None and orders.guidance is None:
        sampler = sampler.model_copy(update={"guidance": args.guidance})
    called = _called(activation, choices, experts)
    unsaid = "" if args.say else _unsaid(ctx, called)
    try:
        plan = MergePlan(
            base=ctx.machinery.base,
            experts=tuple(sorted(experts, key=lambda e: e.id)),
            method=method,
            prompt=_prompt(ctx, activation, called, unsaid),
            negative_prompt=_negative(ctx, activation, experts),
            vae=decoded_by(ctx, orders),
            sampler=sampler,
            seeds=tuple((first + slot) % 2**32 for slot in ctx.job.slots or range(ctx.job.n)),
        )
    except ValidationError as error:
        raise ToolRetry(f"this is no valid plan: {error.errors()[0]['msg']}") from error
    ctx.save_plan(plan)
    return Proposal(
        plan_id=plan.plan_id,
        prompt=plan.prompt,
        unsaid=unsaid,
        method=plan.method.name,
        guidance=plan.sampler.guidance,
        experts=tuple(
            ProposedExpert(id=e.id, facet=e.facet, trigger=e.trigger, weight=e.weight, coarse=coarse_of(e))
            for e in plan.experts
        ),
        seeds=plan.seeds,
    )


def _obedient(activation: ActivationResult, choices: list[Choice], out: Set[str]) -> list[Choice]:
    """A choice, with the experts that the user orders in it at the ordered weights, and without those ruled out."""
    ordered = {e.id for e in activation.experts if e.ordered}
    free = [choice for choice in choices if choice.id not in ordered | out]
    return [*free[: max(0, MAX_EXPERTS - len(ordered))], *(Choice(id=i) for i in sorted(ordered))]


def _laid_out(
    ctx: Context, choice: Choice, expert: PlanExpert, others: list[PlanExpert], default: ActiveExpert | None
) -> PlanExpert:
    """An expert with its share in the coarsest blocks, where nobody ordered its weight."""
    if default is not None and default.ordered:
        return expert
    return beside(ctx, expert, others) if choice.coarse is None else with_coarse(ctx, expert, choice.coarse)


def _expert(ctx: Context, choice: Choice, default: ActiveExpert | None, *, alone: bool) -> PlanExpert:
    """The plan's entry for a choice, at the calibrated weight if none is asked for.

    Calibration finds the weight at which an expert alone does best; its cost to other facets it cannot see. So a
    composition starts from at most 1, the weight at which experts were trained (better on the suite ``develop``, not
    significantly).

    An ordered weight stands as it is. On a base of open vocabulary an expert that nobody measured may be taken.

    Raises ToolRetry for an expert that is not there, does not fit this base, or does not work.
    """
    try:
        expert = ctx.store.expert(choice.id)
    except UserError as error:
        raise ToolRetry(str(error)) from error
    if wrong := misfit(ctx, expert):
        raise ToolRetry(f"{wrong}: leave it out")
    open_words = ctx.profile.vocabulary == "open"
    trigger, facet = _trigger(expert, choice.trigger, default, bare=open_words)
    if default is not None and default.ordered:
        return plan_entry(ctx, expert, default)
    weight = choice.weight
    if default is None:
        found = latest(ctx, expert)
        if found is None and not open_words:
            raise ToolRetry(f"{expert.id} cannot be used (it was never calibrated): leave it out")
        if found is not None and not found.usable:
            raise ToolRetry(f"{expert.id} cannot be used (calibration found: {found.verdict}): leave it out")
        own = PRIOR_WEIGHT if expert.weight is None else expert.weight
        calibrated = own if found is None else found.best_weight
    else:
        calibrated = default.weight
    if weight is None:
        weight = calibrated if alone else min(1.0, calibrated)
    return PlanExpert(
        id=expert.id, ref=str(expert.ref), sha256=expert.sha256, weight=round(weight, 4), facet=facet, trigger=trigger
    )


def _trigger(expert: Expert, wanted: str | None, default: ActiveExpert | None, *, bare: bool) -> tuple[str, str]:
    """(trigger, facet): the wanted one if the expert has it, else the activation's, else its only one. ``bare``: an
    expert may come without a trigger, and where it has several its first is meant.
    """
    known: dict[str, str] = {s.trigger: s.facet for s in expert.skills}
    if wanted is not None:
        if wanted not in known:
            near = closest(wanted, known, at_least=0.3) or sorted(known)[:5]
            raise ToolRetry(f"{expert.id} has no trigger {wanted!r}; it has {', '.join(map(repr, near))}")
        return wanted, known[wanted]
    if default is not None:
        return default.trigger, default.facet
    if len(known) == 1 or (bare and known):
        return next(iter(known.items()))
    if bare:
        return "", ""
    raise ToolRetry(f"say which trigger of {expert.id} is meant: {', '.join(map(repr, sorted(known)[:12]))}")


def _method(args: ProposeArgs, usual: str, ordered: str) -> Method:
    """The ordered method, else the brain's, else the usual one; a brain's parameters for the method that it means."""
    name = ordered or args.method or usual
    method = Method(name=name, params=args.params if args.method in (None, name) else {})
    try:
        make(method)
    except PlanError as error:
        raise ToolRetry(str(error)) from error
    return method


_Called = tuple[str, str, str]
"""(facet, trigger, expert id)"""


def _called(activation: ActivationResult, choices: list[Choice], experts: list[PlanExpert]) -> list[_Called]:
    """What the experts of a proposal are in it for: the activation's triggers, or those that the proposal names."""
    default = {e.id: e.triggers for e in activation.experts}
    ordered = {e.id for e in activation.experts if e.ordered}
    called: list[_Called] = []
    for choice, expert in zip(choices, experts, strict=True):
        if choice.trigger is not None or choice.id not in default:
            called.append((expert.facet, expert.trigger, expert.id))
            continue
        facets: dict[str, str] = {f.trigger: f.facet for f in activation.facets if f.by == expert.id}
        if activation.vocabulary == "open" or choice.id in ordered:
            called += [(facets.get(t, expert.facet), t, expert.id) for t in default[expert.id]]
        else:
            called += [(facets[t], t, expert.id) for t in default[expert.id] if t in facets]
    return called


def _prompt(ctx: Context, activation: ActivationResult, called: list[_Called], unsaid: str) -> str:
    """What is sampled: on a base of open vocabulary the user's own words with the triggers put in that they lack, else
    the canonical prompt: what the base draws, and all triggers that are called up but the unsaid one.

    Grammar: facets in their order, separated by commas; several subjects joined by "and".
    """
    triggers = {t for _, t, _ in called}
    if activation.vocabulary == "open":
        typed = split(ctx.job.prompt or activation.read)
        return sampled_prompt(typed, [t for _, t, _ in called], ctx.profile.trigger_position)
    asked = {f.trigger for f in activation.facets}
    if not unsaid and triggers <= asked and triggers == {t for e in activation.experts for t in e.triggers}:
        return activation.prompt
    parts: list[tuple[str, str]] = [(f.facet, f.trigger) for f in activation.facets if f.by == "base"]
    parts += [(facet, trigger) for facet, trigger, _ in called if trigger != unsaid]
    return ", ".join(
        (" and " if facet == "subject" else ", ").join(said)
        for facet in FACETS
        if (said := list(dict.fromkeys(t for f, t in parts if f == facet and t)))
    )


def _negative(ctx: Context, activation: ActivationResult, experts: list[PlanExpert]) -> str:
    """What the user rules out, and what the experts' users or authors put into the negative prompt."""
    said = [negative(ctx, activation)]
    if not why_no_negative(ctx, activation.orders):
        said += [ctx.store.expert(e.id).negative.strip(" ,") for e in experts]
    return ", ".join(dict.fromkeys(text for text in said if text))


def _unsaid(ctx: Context, called: list[_Called]) -> str:
    """The trigger that the prompt of a composition leaves out, "" if none.

    Triggers are words that the base's text encoder need not know. On a base that has read few words they change the
    states that cross-attention reads behind a subject's name, and the subject suffers. A look whose calibration found
    that it acts unasked needs none. But only one is left out, in the order of facets: with none of two looks said the
    image is pulled apart (the evals' arm ``only_subject_said``).
    """
    enough = ctx.profile.acts_unasked
    several = len({expert_id for _, _, expert_id in called}) > 1 and any(facet == "subject" for facet, _, _ in called)
    if enough is None or not several:
        return ""
    for facet, trigger, expert_id in sorted(called, key=lambda c: FACETS.index(c[0])):
        if facet == "subject":
            continue
        expert = ctx.store.expert(expert_id)
        name = next((s.name for s in expert.skills if (s.facet, s.trigger) == (facet, trigger)), "")
        found = [c for c in ctx.store.calibrations(expert_id) if c.expert_sha256 == expert.sha256]
        if found and found[-1].unasked.get(name, 0.0) >= enough:
            return trigger
    return ""


def method_names() -> list[str]:
    """The registered merge methods."""
    return sorted(methods())
