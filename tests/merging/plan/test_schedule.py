"""Schedules: which plans a step merges, and that sampling holds to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diffgraph.errors import PlanError
from diffgraph.merging.plan.merge_plan import Composite, MergePlan, Method, PlanBase, PlanExpert, Ramp, Sampler, Switch
from diffgraph.merging.plan.schedule import knot_value, passes, plain
from diffgraph.merging.sampling.pipeline import render
from diffgraph.merging.sampling.png_record import pixels_sha256
from diffgraph.merging.sampling.scheduled import averaged


def made(schedule=None, weights=(1.0, 0.5, 0.25), **more):
    experts = tuple(
        PlanExpert(id=name, ref="r", sha256=name * 64, weight=w) for name, w in zip("abc", weights, strict=True)
    )
    return MergePlan(
        base=PlanBase(ref="b", family="f", sha256="0" * 64), experts=experts, prompt="p", schedule=schedule, **more
    )


def who(plan):
    return "".join(expert.id for expert in plan.experts)


def test_switch_goes_round_the_experts_of_non_zero_weight():
    turns = [passes(made(Switch(every=2), (1, 0, 0.25)), step, 9) for step in range(9)]
    assert [len(turn) for turn in turns] == [1] * 9
    assert [who(turn[0]) for turn in turns] == list("aaccaacca")
    assert turns[2][0].experts[0].weight == 0.25
    assert passes(made(Switch(), (0, 0, 0)), 3, 9) == (made(weights=(0, 0, 0)),)


def test_composite_runs_every_expert_at_every_step():
    assert [[who(p) for p in passes(made(Composite(), (1, 0, 2)), step, 3)] for step in range(3)] == [["a", "c"]] * 3


def test_a_ramp_moves_weights_and_parameters():
    ramp = Ramp(weights={"a": (1, 0), "b": (2,)}, params={"mu": (0.5, 1.5, 0.5)})
    plan = made(ramp, method=Method(name="np_lora", params={"balance": 0.5}))
    seen = [passes(plan, step, 5)[0] for step in range(5)]
    assert [[e.weight for e in p.experts] for p in seen] == [[w, 1.0, 0.25] for w in (1.0, 0.75, 0.5, 0.25, 0.0)]
    assert [p.method.params for p in seen] == [{"balance": 0.5, "mu": m} for m in (0.5, 1.0, 1.5, 1.0, 0.5)]
    held = made(ramp.model_copy(update={"every": 3}))
    assert [passes(held, step, 5)[0].experts[0].weight for step in range(5)] == [1, 1, 1, 0.25, 0.25]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.integers(1, 40), st.data())
def test_a_ramp_goes_through_its_knots_and_stays_between_them(knots, steps, data):
    step = data.draw(st.integers(0, steps - 1))
    value = knot_value(knots, step, steps)
    assert min(knots) - 1e-9 <= value <= max(knots) + 1e-9
    assert knot_value(knots, 0, steps) == knots[0]
    if steps > 1:
        assert knot_value(knots, steps - 1, steps) == knots[-1]
    assert knot_value([knots[0]] * 3, step, steps) == knots[0]


def test_a_plan_without_schedule_is_the_same_at_every_step():
    assert passes(made(), 2, 3) == (made(),)
    assert plain(made(Switch())) == made()
    assert passes(made(Ramp(weights={"a": (1, 1)})), 2, 7)[0].plan_id == made().plan_id
    with pytest.raises(ValueError, match="no step 3"):
        passes(made(), 3, 3)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"kind": "ramp", "weights": {"d": [1]}}, "experts that the plan lacks: 'd'"),
        ({"kind": "ramp", "weights": {"a": []}}, "at least one knot"),
        ({"kind": "ramp"}, "at least one knot"),
        ({"kind": "ramp", "weights": {"a": [float("nan")]}}, "finite"),
        ({"kind": "switch", "every": 0}, "greater than or equal to 1"),
        ({"kind": "swich"}, "switch"),
        ({"kind": "composite", "every": 2}, "Extra inputs"),
    ],
)
def test_malformed_schedules_are_refused_with_the_reason(schedule, message):
    with pytest.raises(ValidationError, match=message):
        MergePlan.model_validate(made().model_dump() | {"schedule": schedule})


# -- sampling --------------------------------------------------------------------------------------------------------


def pixels(engine, world, plan):
    return [pixels_sha256(image) for image in render(engine, plan, world.locate)]


@pytest.fixture
def trio(world):
    return [world.expert("owl"), world.expert("ink", 0.7, "style"), world.expert("stars", 0.5, "background")]


@pytest.mark.parametrize("sampler", ["default", "heun"])
def test_a_constant_schedule_is_the_plain_plan_bit_for_bit(world, engine, trio, sampler):
    plan = world.plan(*trio, method="ties", seeds=(1, 2), sampler=Sampler(name=sampler, steps=3))
    constant = plan.model_copy(update={"schedule": Ramp(weights={"owl": (1.0, 1.0), "ink": (1.0,)})})
    assert constant.plan_id != plan.plan_id
    assert pixels(engine, world, constant) == pixels(engine, world, plan)


@pytest.mark.parametrize("schedule", [Switch(), Switch(every=2), Composite()])
def test_one_expert_alone_is_that_expert_and_none_is_the_base(world, engine, trio, schedule):
    alone = world.plan(trio[0], world.expert("ink", 0.0))
    assert pixels(engine, world, alone.model_copy(update={"schedule": schedule})) == pixels(engine, world, alone)
    assert pixels(engine, world, world.plan(schedule=schedule)) == pixels(engine, world, world.plan())


def test_every_schedule_draws_another_image(world, engine, trio):
    schedules = [
        None,
        Switch(),
        Switch(every=2),
        Composite(),
        Ramp(weights={"owl": (1, 0)}),
        Ramp(weights={"owl": (0, 1)}),
    ]
    images = [pixels(engine, world, world.plan(*trio, schedule=schedule))[0] for schedule in schedules]
    assert len(set(images)) == len(images)
    turned = world.plan(*reversed(trio), schedule=Switch())
    assert pixels(engine, world, turned)[0] not in images


def test_a_step_sees_the_weights_of_its_plan_and_no_others(world, engine, trio, monkeypatch):
    seen, target = [], "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight"
    forward = engine.pipe.unet.forward

    def spy(*args, **kwargs):
        seen.append(engine.weights[target].clone())
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.pipe.unet, "forward", spy, raising=False)
    render(engine, world.plan(*trio, schedule=Switch()), world.locate)
    assert engine.pipe.unet.forward is spy
    assert len(seen) == 3
    for expert, weight in zip(trio, seen, strict=True):
        engine.apply(world.plan(expert), world.locate)
        assert torch.equal(engine.weights[target], weight)


def test_composite_averages_the_guidance_of_single_merges(world, engine, trio):
    """One step: the mean of the experts' latents is the latent of the mean guidance, since the step is linear in it."""
    one_step = {"sampler": Sampler(steps=1), "seeds": (5,)}
    latents = []
    decode = engine.pipe.vae.decode

    def keep(z, **kwargs):
        latents.append(z.clone())
        return decode(z, **kwargs)

    engine.pipe.vae.decode = keep
    try:
        for plan in [*(world.plan(e, **one_step) for e in trio), world.plan(*trio, schedule=Composite(), **one_step)]:
            render(engine, plan, world.locate)
    finally:
        del engine.pipe.vae.decode
    assert torch.allclose(torch.stack(latents[:3]).mean(0), latents[3], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(latents[0], latents[3], rtol=1e-4, atol=1e-5)


def test_ctrl_c_between_steps_leaves_base_and_denoiser_as_they_were(world, engine, trio):
    before, forward = engine.fingerprint(), engine.pipe.unet.forward

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(engine, world.plan(*trio, schedule=Switch()), world.locate, stop)
    assert engine.pipe.unet.forward == forward
    assert "forward" not in vars(engine.pipe.unet)
    assert engine.fingerprint() == before
    engine.reset()
    assert all(
        weight is engine.pristine[target] or weight.data_ptr() == engine.pristine[target].data_ptr()
        for target, weight in engine.weights.items()
    )
    assert pixels(engine, world, world.plan()) == pixels(engine, world, world.plan(sampler=Sampler(steps=3)))


def test_a_ramp_over_a_parameter_the_method_lacks_is_a_plan_error(world, engine, trio):
    with pytest.raises(PlanError, match="bad parameters"):
        render(engine, world.plan(*trio, schedule=Ramp(params={"mew": (0, 1)})), world.locate)
    assert "forward" not in vars(engine.pipe.unet)


def test_outputs_of_every_shape_are_averaged_or_refused():
    one, two = torch.ones(2, 2), torch.full((2, 2), 3.0)
    assert torch.equal(averaged([(one, "kept"), (two, "")])[0], torch.full((2, 2), 2.0))
    assert averaged([(one, "kept"), (two, "")])[1] == "kept"
    assert torch.equal(averaged([UNet2DConditionOutput(sample=x) for x in (one, two)]).sample, torch.full((2, 2), 2.0))
    assert torch.equal(averaged([([one, one],), ([two, one],)])[0][0], torch.full((2, 2), 2.0))
    assert averaged([(one.half(),), (two.half(),)])[0].dtype == torch.float16
    for odd in ([np.ones(2)] * 2, [("x",), ("y",)]):
        with pytest.raises(PlanError, match="cannot average"):
            averaged(odd)
