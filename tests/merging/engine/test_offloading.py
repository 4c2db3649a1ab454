"""Weights that leave the device between their turns: merged in the machine's memory, and never stale.

There is no second device here. What a move to one and back does to a pipeline is that its parameters' data are copies
afterwards, so the models copy their weights before each pass; the hooks are diffusers' own.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgraph.errors import UserError
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.engine.offloading import offload_pipeline
from diffgraph.merging.plan.merge_plan import Switch
from diffgraph.merging.sampling.pipeline import render


def moved(module, _args):
    """What ``module.to(device)`` leaves: the same parameters with other memory."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()


@pytest.fixture(params=["model", "group"])
def travelling(request, base_dir):
    engine = Engine(base_dir, device="cpu", offload=request.param)
    for name in ("unet", "text_encoder", "vae"):
        getattr(engine.pipe, name).register_forward_pre_hook(moved)
    return engine


def test_what_is_merged_reaches_an_offloaded_model_and_what_is_undone_leaves_it(world, engine, travelling):
    plans = [
        world.plan(world.expert("owl")),
        world.plan(world.expert("owl", 0.5), world.expert("ink")),
        world.plan(world.expert("tuned")),
        world.plan(),
        world.plan(world.expert("owl"), world.expert("ink"), schedule=Switch()),
        world.plan(world.expert("ink", 0.3)),
    ]
    mark = travelling.fingerprint()
    for plan in plans:
        there = [np.asarray(image) for image in render(travelling, plan, world.locate)]
        here = [np.asarray(image) for image in render(engine, plan, world.locate)]
        assert np.array_equal(there, here)
    engine.apply(plans[1], world.locate)
    travelling.apply(plans[1], world.locate)
    expected = engine.weights
    assert all(torch.equal(value, expected[target]) for target, value in travelling.weights.items())
    travelling.reset()
    engine.reset()
    assert all(torch.equal(value, travelling.pristine[target]) for target, value in travelling.weights.items())
    assert travelling.fingerprint() == mark


def test_a_pipeline_without_an_order_of_turns_is_a_user_error(engine):
    class Orderless(type(engine.pipe)):
        model_cpu_offload_seq = None

    pipe = Orderless(**engine.pipe.components, requires_safety_checker=False)
    with pytest.raises(UserError, match="DIFFGRAPH_OFFLOAD=group or none"):
        offload_pipeline(pipe, torch.device("cpu"), "model")
