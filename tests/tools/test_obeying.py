"""What a user orders beside the words reaches the plan, or is named."""

from __future__ import annotations

from typing import Any

from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.tools.activate_experts import ActivateArgs, activate_experts
from diffgraph.tools.context import Context, Job
from diffgraph.tools.propose_plan import ProposeArgs, propose_plan
from diffgraph.tools.results import ActivationResult


def planned(ctx: Context, prompt: str, **job: Any) -> tuple[ActivationResult, MergePlan]:
    activation = activate_experts(ctx, ActivateArgs(prompt=prompt))
    made = propose_plan(ctx.with_job(Job(prompt=prompt, activation=activation, **job)), ProposeArgs())
    return activation, ctx.load_plan(made.plan_id)


def test_seed_steps_guidance_and_weight_are_obeyed(ctx: Context) -> None:
    plain, before = planned(ctx, "an octopus")
    assert plain.experts
    name = plain.experts[0].id.rpartition("/")[2]
    activation, plan = planned(ctx, f"an octopus, seed 42, 25 steps, cfg 6.5 <lora:{name}:0.4>")
    assert (plan.seeds, plan.sampler.steps, plan.sampler.guidance) == ((42,), 25, 6.5)
    assert [e.weight for e in plan.experts] == [0.4]
    assert (plan.prompt, activation.unmet) == (before.prompt, ())
    assert before.seeds == (0,)


def test_the_requests_own_seed_goes_first(ctx: Context) -> None:
    assert planned(ctx, "an octopus, seed 42", seed=7)[1].seeds == (7,)


def test_what_cannot_be_obeyed_is_named(ctx: Context) -> None:
    activation, plan = planned(ctx, "an octopus, no hat, 3 of them <lora:nobody:0.5> BREAK --v 6")
    assert activation.excluded == ("hat",)
    assert {u.text for u in activation.unmet} >= {"<lora:nobody:0.5>", "BREAK", "--v 6"}
    fits = ctx.profile.vocabulary == "open" and ctx.profile.negative_prompt
    assert plan.negative_prompt == ("hat" if fits else "")
