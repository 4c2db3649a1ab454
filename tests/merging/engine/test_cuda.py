"""What the engine does on a GPU: the weights of the CPU, the same bits every time. Skipped where there is none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.deltas.factors import Factors
from diffgraph.merging.engine.arithmetic import exact_products
from diffgraph.merging.engine.batched_factors import grouped, packed
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.engine.gpu_merge import GpuMerger, WeightSlot
from diffgraph.merging.engine.merge_tasks import MergeTask, Recipe
from diffgraph.merging.formats import ExpertDelta
from diffgraph.merging.methods.method import make, methods
from diffgraph.merging.plan.merge_plan import Method
from diffgraph.merging.sampling.pipeline import render

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

CUDA = torch.device("cuda")
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


SHAPES = {"wide": (320, 1280), "tall": (1280, 320), "other": (320, 1280), "odd": (324, 500), "many": (320, 1280)}
STORED = (torch.bfloat16, torch.float16, torch.float32)


def experts_on(device: torch.device) -> list[ExpertDelta]:
    """One LoRA of each dtype, of ranks 32, 8 and 40, and of scales that differ from weight to weight."""
    out = []
    for number, (dtype, rank) in enumerate(zip(STORED, (32, 8, 40), strict=True)):
        deltas = {}
        for at, (name, (rows, columns)) in enumerate(SHAPES.items()):
            draw = torch.Generator().manual_seed(10 * number + at)
            up = 0.004 * torch.randn(rows, rank, generator=draw) / rank**0.5
            factors = Factors(up.to(dtype), torch.randn(rank, columns, generator=draw).to(dtype), 1.0 + at)
            deltas[name] = Delta((rows, columns), factors=[factors])
        out.append(ExpertDelta(Path("made.safetensors"), "adapter", "lora", rank, packed(deltas, device)))
    return out


def written(launcher: GpuMerger, base: dict[str, torch.Tensor], names: list[str]) -> dict[str, torch.Tensor]:
    recipe = Recipe("linear", tuple((str(i), "style", weight) for i, weight in enumerate((0.7, -0.4, 1.1))))
    experts = tuple(experts_on(CUDA))
    groups, left = grouped([MergeTask(name, recipe, make(Method()), experts) for name in names])
    assert not left
    outs = {name: torch.full_like(base[name], torch.nan) for name in names}
    work = []
    for group in groups:
        weights = [base[task.target] for task in group.tasks]
        assert all(group.stackable(torch.bfloat16, [float(w.float().norm()) for w in weights]))
        places = [WeightSlot.of(outs[t.target], base[t.target], tuple(base[t.target].shape), 0.0) for t in group.tasks]
        work.append((group, places))
    with exact_products():
        launcher.write(work)
    return outs


def test_one_launch_for_many_weights_rounds_each_sum_once() -> None:
    base = {
        n: torch.randn(s, generator=torch.Generator().manual_seed(9)).bfloat16().to(CUDA) for n, s in SHAPES.items()
    }
    launcher = GpuMerger(CUDA, torch.bfloat16)
    assert launcher.has_kernel
    found, products = written(launcher, base, list(SHAPES)), written(GpuMerger(CUDA, torch.float32), base, list(SHAPES))
    for name, weight in base.items():
        exact = weight.double()
        for expert, share in zip(experts_on(CUDA), (0.7, -0.4, 1.1), strict=True):
            exact = exact + share * expert.deltas[name].dense().double()
        rounding = (exact.bfloat16().double() - exact).norm()
        assert float((found[name].double() - exact).norm() / rounding) < 1.01, name
        assert float((products[name].double() - exact).norm() / rounding) < 1.02, name
    # Bits depend on a weight's own recipe, not on what is merged beside it.
    for name in SHAPES:
        assert torch.equal(written(launcher, base, [name])[name], found[name]), name
