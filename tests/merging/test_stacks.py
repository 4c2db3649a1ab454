"""Merging by stacks of factors: the sums of `write_merged`, whatever else is merged beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffgraph.errors import UserError
from diffgraph.merging import engine as engines
from diffgraph.merging.delta import Delta, Factors
from diffgraph.merging.engine import Engine
from diffgraph.merging.executor import exact_products
from diffgraph.merging.plan import MergePlan
from diffgraph.merging.stacks import Job, packed, write_all

CPU = torch.device("cpu")


@pytest.fixture
def stacked(world) -> Engine:
    return Engine(world.base_dir, device="cpu", stacked=True)


def apply(engine: Engine, world, some: MergePlan) -> dict[str, torch.Tensor]:
    engine.apply(some, world.locate)
    return {target: weight.clone() for target, weight in engine.weights.items()}


def plan(world, weights: dict[str, float], method: str = "linear") -> MergePlan:
    return world.plan(*[world.expert(name, weight) for name, weight in weights.items()], method=method)


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, two[target]) for target, weight in one.items())


def lora(rows: int, columns: int, rank: int, seed: int, dtype: torch.dtype, scale: float) -> Delta:
    draw = torch.Generator().manual_seed(seed)
    up, down = torch.randn(rows, rank, generator=draw), torch.randn(rank, columns, generator=draw)
    return Delta((rows, columns), factors=[Factors(up.to(dtype), down.to(dtype), scale)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_jobs_are_sums_in_float64(dtype: torch.dtype) -> None:
    shapes = [(12, 8), (12, 8), (5, 8), (12, 8)]
    names = [f"layer{i}" for i in range(len(shapes))]

    def expert(seed: int) -> dict[str, Delta]:
        return {name: lora(*shapes[i], 3, seed + i, dtype, 0.5 + i) for i, name in enumerate(names)}

    experts = [packed(expert(seed), CPU) for seed in (10, 20, 30)]
    base = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(shapes)]
    # The second job lacks the middle expert, and the order of the jobs is not that of the stacks.
    jobs, expected = [], []
    for i in (3, 1, 0, 2):
        terms = [(d[names[i]].factors[0], 0.7 * d[names[i]].factors[0].scale) for d in experts]
        terms = terms[::2] if i == 1 else terms
        jobs.append(Job(torch.full(shapes[i], torch.nan), base[i], terms))
        expected.append(base[i].double() + sum(s * f.up.double() @ f.down.double() for f, s in terms))
    with exact_products():
        write_all(jobs)
    for job, exact in zip(jobs, expected, strict=True):
        assert float((job.out.double() - exact).norm() / exact.norm()) < 1e-6


def test_packing_keeps_values_scales_and_what_was_measured() -> None:
    deltas = {
        "a": lora(6, 4, 2, 1, torch.bfloat16, 2.0),
        "b": lora(6, 4, 2, 2, torch.bfloat16, 0.5),
        "c": lora(6, 4, 1, 3, torch.float32, 1.0),
        "full": Delta((6, 4), full=torch.ones(6, 4)),
    }
    reach = deltas["a"].factors[0].reach
    moved = packed(deltas, CPU)
    assert list(moved) == list(deltas)
    for name, delta in deltas.items():
        assert torch.equal(moved[name].dense(), delta.dense())
    one, two, other = (moved[name].factors[0] for name in "abc")
    assert one.stack is two.stack is not None
    assert (one.index, two.index) == (0, 1)
    assert other.stack is not one.stack
    assert one.reach == reach
    assert moved["full"].single is None


def test_the_same_weights_as_without_stacks(stacked: Engine, engine: Engine, world) -> None:
    for some in (
        plan(world, {"owl": 0.8, "ink": 0.5, "stars": -0.3}),
        plan(world, {"owl": 1.0, "tuned": 0.7}),
        plan(world, {"ink": 1.2}),
        plan(world, {"owl": 0.8, "ink": 0.5}, method="ties"),
    ):
        found, expected = apply(stacked, world, some), apply(engine, world, some)
        for target, weight in expected.items():
            assert torch.allclose(found[target], weight, rtol=1e-5, atol=1e-6), target


def test_bits_do_not_depend_on_what_was_merged_before_or_beside(stacked: Engine, world) -> None:
    few, many = plan(world, {"ink": 0.5}), plan(world, {"ink": 0.5, "owl": 0.4, "stars": 0.9})
    before = stacked.fingerprint()
    for some in (many, few, many, few):
        found = apply(stacked, world, some)
        assert same(found, apply(Engine(world.base_dir, device="cpu", stacked=True), world, some))
    assert stacked.fingerprint() == before
    stacked.reset()
    assert same(dict(stacked.weights), dict(stacked.pristine))


def test_a_failure_half_way_leaves_everything_as_it_was(
    stacked: Engine, world, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = apply(stacked, world, plan(world, {"owl": 0.8, "stars": 0.2}))
    real = engines.write_all

    def half(jobs: list[Job]) -> None:
        real(jobs[: len(jobs) // 2])
        monkeypatch.setattr(engines, "write_all", real)
        raise UserError("out of memory")

    monkeypatch.setattr(engines, "write_all", half)
    with pytest.raises(UserError, match="out of memory"):
        stacked.apply(plan(world, {"owl": 0.1, "ink": 0.6}), world.locate)
    assert same(before, dict(stacked.weights))


def test_experts_that_were_let_go_are_read_again(world, tmp_path: Path) -> None:
    small = Engine(world.base_dir, device="cpu", stacked=True, expert_cache_bytes=1)
    roomy = Engine(world.base_dir, device="cpu", stacked=True)
    for some in (plan(world, {"owl": 1.0, "ink": 0.3}), plan(world, {"stars": 1.0}), plan(world, {"owl": 0.4})):
        assert same(apply(small, world, some), apply(roomy, world, some))
