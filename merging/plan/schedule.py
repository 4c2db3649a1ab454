"""What a plan with a schedule merges at each sampling step: plain plans, without a schedule. Imports no torch.

A *step* is one turn of the sampler's loop; samplers of second order take more of them than ``Sampler.steps``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .merge_plan import Composite, MergePlan, PlanExpert, Ramp, Switch


def plain(plan: MergePlan) -> MergePlan:
    """The same plan without its schedule: what the text encoders hold, and what is merged before the first step."""
    return plan if plan.schedule is None else plan.model_copy(update={"schedule": None})


def passes(plan: MergePlan, step: int, steps: int) -> tuple[MergePlan, ...]:
    """The plain plans whose guidance is averaged at one step; a single one but for `Composite`.

    Args:
        plan: the plan; one without a schedule gives itself.
        step: from 0.
        steps: how many the sampler takes in all.

    Returns:
        One plan for each pass of the denoiser. Where the step leaves an expert at weight 0 it does not take part, and
        a plan none of whose experts has a weight is the base.
    """
    if not 0 <= step < steps:
        raise ValueError(f"there is no step {step} among {steps}")
    active = tuple(expert for expert in plan.experts if expert.weight != 0.0)
    match plan.schedule:
        case Switch(every=every) if active:
            return (_with(plan, [active[step // every % len(active)]]),)
        case Composite() if active:
            return tuple(_with(plan, [expert]) for expert in active)
        case Ramp() as ramp:
            return (_ramped(plan, ramp, step - step % ramp.every, steps),)
        case _:
            return (plain(plan),)


def knot_value(knots: Sequence[float], step: int, steps: int) -> float:
    """The value at a step on the line through evenly spaced knots; equal neighbours give exactly their value."""
    at = step / (steps - 1) * (len(knots) - 1) if steps > 1 else 0.0
    left = min(int(at), len(knots) - 1)
    right = min(left + 1, len(knots) - 1)
    return knots[left] + (knots[right] - knots[left]) * (at - left)


def _with(plan: MergePlan, experts: Sequence[PlanExpert]) -> MergePlan:
    return plan.model_copy(update={"experts": tuple(experts), "schedule": None})


def _ramped(plan: MergePlan, ramp: Ramp, step: int, steps: int) -> MergePlan:
    factors = {name: knot_value(knots, step, steps) for name, knots in ramp.weights.items()}
    experts = [e.model_copy(update={"weight": e.weight * factors.get(e.id, 1.0)}) for e in plan.experts]
    params: dict[str, Any] = {name: knot_value(knots, step, steps) for name, knots in ramp.params.items()}
    method = plan.method.model_copy(update={"params": plan.method.params | params}) if params else plan.method
    return _with(plan, experts).model_copy(update={"method": method})
