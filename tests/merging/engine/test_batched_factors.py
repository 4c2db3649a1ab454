"""Merging by stacks of factors: the sums of `write_merged`, whatever else is merged beside them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgraph.errors import UserError
from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.deltas.factors import Factors
from diffgraph.merging.engine.arithmetic import exact_products, harmless
from diffgraph.merging.engine.batched_factors import TaskGroup, grouped, packed, write_group
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.engine.gpu_merge import GpuMerger, WeightSlot
from diffgraph.merging.engine.merge_tasks import MergeTask, Recipe
from diffgraph.merging.formats import ExpertDelta
from diffgraph.merging.methods.method import make
from diffgraph.merging.plan.merge_plan import MergePlan, Method

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


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


def read(deltas: dict[str, Delta]) -> ExpertDelta:
    """An expert whose factors lie in stacks."""
    return ExpertDelta(Path("made.safetensors"), "adapter", "lora", 3, packed(deltas, CPU))


def tasks_for(experts: list[ExpertDelta], who: dict[str, tuple[int, ...]], weight: float) -> list[MergeTask]:
    """One task a target: the sum of the experts whose numbers are given, in shared recipes as `tasks_of` makes them."""
    recipes = {some: Recipe("linear", tuple((str(i), "style", weight) for i in some)) for some in set(who.values())}
    method = make(Method())
    return [MergeTask(name, recipes[some], method, tuple(experts[i] for i in some)) for name, some in who.items()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_groups_are_sums_in_float64(dtype: torch.dtype) -> None:
    shapes = [(12, 8), (12, 8), (5, 8), (12, 8)]
    names = [f"layer{i}" for i in range(len(shapes))]
    experts = [
        read({name: lora(*shapes[i], 3, seed + i, dtype, 0.5 + i) for i, name in enumerate(names)})
        for seed in (10, 20, 30)
    ]
    base = {n: torch.randn(shapes[i], generator=torch.Generator().manual_seed(i)) for i, n in enumerate(names)}
    # The second weight lacks the middle expert, and the order of the tasks is not that of the stacks.
    who = {names[i]: (0, 2) if i == 1 else (0, 1, 2) for i in (3, 1, 0, 2)}
    groups, left = grouped(tasks_for(experts, who, 0.7))
    assert not left
    assert sorted(sorted(task.target for task in group.tasks) for group in groups) == [
        ["layer0", "layer3"],
        ["layer1"],
        ["layer2"],
    ]
    for group in groups:
        outs = [torch.full(base[task.target].shape, torch.nan) for task in group.tasks]
        with exact_products():
            write_group(group, outs, [base[task.target] for task in group.tasks])
        for task, out in zip(group.tasks, outs, strict=True):
            exact = base[task.target].double()
            for expert in task.experts:
                term = expert.deltas[task.target].factors[0]
                exact = exact + 0.7 * term.scale * term.up.double() @ term.down.double()
            assert float((out.double() - exact).norm() / exact.norm()) < 1e-6


def test_what_is_more_than_a_sum_or_lies_in_no_stack_is_left() -> None:
    one = read({"a": lora(6, 4, 2, 1, torch.float32, 1.0), "full": Delta((6, 4), full=torch.ones(6, 4))})
    two = read({"a": lora(6, 4, 2, 2, torch.float32, 1.0), "full": Delta((6, 4), full=torch.ones(6, 4))})
    groups, left = grouped(tasks_for([one, two], {"a": (0, 1), "full": (0, 1)}, 1.0))
    assert [[task.target for task in group.tasks] for group in groups] == [["a"]]
    assert [task.target for task in left] == ["full"]
    trimmed = [MergeTask(t.target, t.recipe, make(Method(name="ties")), t.experts) for t in groups[0].tasks]
    assert grouped(trimmed) == ([], trimmed)


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=4),
    st.sampled_from(DTYPES),
    st.sampled_from(DTYPES),
    st.one_of(st.floats(0, 1e6), st.sampled_from([math.inf, math.nan, 1e38])),
)
def test_a_product_of_rounded_factors_is_allowed_where_it_does_no_harm(
    strengths: list[tuple[float, float]], stored: torch.dtype, dtype: torch.dtype, norm: float
) -> None:
    made = [lora(256, 256, 2, i, stored, 10.0**s) for i, (s, _) in enumerate(strengths)]
    experts = [read({"a": delta}) for delta in made]
    recipe = Recipe("linear", tuple((str(i), "style", 10.0**w) for i, (_, w) in enumerate(strengths)))
    groups, _ = grouped([MergeTask("a", recipe, make(Method()), tuple(experts))])
    terms = [d.factors[0].scaled(10.0**w) for d, (_, w) in zip(made, strengths, strict=True)]
    reach = norm + sum(term.reach for term in terms)
    finite = reach <= torch.finfo(dtype).max / 2
    expected = finite and (dtype == torch.float32 or (dtype == torch.bfloat16 and harmless(terms, dtype, norm)))
    assert groups[0].stackable(dtype, [norm]) == [expected]


def test_tiny_weights_in_half_precision_are_left_to_float32() -> None:
    expert = read({"a": lora(12, 8, 2, 1, torch.bfloat16, 1.0)})
    (group,), _ = grouped(tasks_for([expert], {"a": (0,)}, 0.01))
    assert group.stackable(torch.bfloat16, [1e6]) == [False]
    assert group.only([False]).tasks == []


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
    real = GpuMerger.write

    def half(launcher: GpuMerger, work: list[tuple[TaskGroup, list[WeightSlot]]]) -> None:
        group, places = work[0]
        first = [at < (len(places) + 1) // 2 for at in range(len(places))]
        real(launcher, [(group.only(first), places[: sum(first)])])
        monkeypatch.setattr(GpuMerger, "write", real)
        raise UserError("out of memory")

    monkeypatch.setattr(GpuMerger, "write", half)
    with pytest.raises(UserError, match="out of memory"):
        stacked.apply(plan(world, {"owl": 0.1, "ink": 0.6}), world.locate)
    assert same(before, dict(stacked.weights))


def test_experts_that_were_let_go_are_read_again(world, tmp_path: Path) -> None:
    small = Engine(world.base_dir, device="cpu", stacked=True, expert_cache_bytes=1)
    roomy = Engine(world.base_dir, device="cpu", stacked=True)
    for some in (plan(world, {"owl": 1.0, "ink": 0.3}), plan(world, {"stars": 1.0}), plan(world, {"owl": 0.4})):
        assert same(apply(small, world, some), apply(roomy, world, some))
