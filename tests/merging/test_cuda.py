"""What the engine does on a GPU: the weights of the CPU, the same bits every time. Skipped where there is none."""

from __future__ import annotations

import random

import pytest
import torch

from diffgraph.merging.engine import Engine
from diffgraph.merging.methods.registry import methods
from diffgraph.merging.pipeline import render

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

FACETS = {"owl": "subject", "ink": "style", "stars": "background"}


def plan(world, weights: dict[str, float], method: str = "linear"):
    experts = [world.expert(name, weight, FACETS.get(name, "style")) for name, weight in weights.items()]
    return world.plan(*experts, method=method)


@pytest.fixture(scope="module")
def on_gpu(base_dir) -> Engine:
    return Engine(base_dir, device="cuda")


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_gives_the_weights_of_the_cpu(method: str, on_gpu: Engine, engine: Engine, world) -> None:
    asked = plan(world, {"owl": 0.8, "ink": 0.6, "stars": 0.5}, method)
    report = on_gpu.apply(asked, world.locate)
    engine.apply(asked, world.locate)
    assert report.targets > 0
    for target, weight in engine.weights.items():
        found, base = on_gpu.weights[target].cpu(), engine.pristine[target]
        assert float((found - weight).norm()) <= 2e-3 * float((weight - base).norm()) + 1e-6, target


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_once(dtype: str, world) -> None:
    asked = plan(world, {"owl": 0.8, "ink": 0.6, "tuned": 0.5})
    halves, exact = Engine(world.base_dir, device="cuda", dtype=dtype), Engine(world.base_dir, device="cpu")
    halves.apply(asked, world.locate)
    exact.apply(asked, world.locate)
    unit = torch.finfo(halves.dtype).eps
    for target, weight in exact.weights.items():
        assert torch.allclose(halves.weights[target].cpu().float(), weight, rtol=2 * unit, atol=2 * unit), target


def test_switches_leave_no_trace(on_gpu: Engine, world) -> None:
    before, draw = on_gpu.fingerprint(), random.Random(1)
    for _ in range(60):
        weights = {name: draw.choice([-0.5, 0.3, 1.0]) for name in draw.sample([*FACETS, "tuned"], draw.randint(1, 3))}
        last = plan(world, weights, draw.choice(["linear", "ties", "slerp"]))
        on_gpu.apply(last, world.locate)
    fresh = Engine(world.base_dir, device="cuda")
    fresh.apply(last, world.locate)
    assert all(torch.equal(weight, fresh.weights[target]) for target, weight in on_gpu.weights.items())
    assert on_gpu.fingerprint() == before


def test_a_seed_gives_the_same_image_twice(on_gpu: Engine, world) -> None:
    images = []
    for other in ({"stars": 0.4}, {"ink": 1.0}):
        on_gpu.apply(plan(world, other), world.locate)
        images.append(render(on_gpu, plan(world, {"owl": 0.8, "ink": 0.6}), world.locate)[0].tobytes())
    assert images[0] == images[1]
