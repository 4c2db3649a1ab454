"""The engine against PEFT, against dense sums, and against its own promises."""

from __future__ import annotations

import itertools
import random
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel

from diffgraph.errors import ExpertError, PlanError, UserError
from diffgraph.merging.engine import pipeline_loading
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.engine.merged_memory import MergedMemory
from diffgraph.merging.formats import read_expert
from diffgraph.merging.methods import methods


def snapshot(engine):
    return {target: weight.clone() for target, weight in engine.weights.items()}


def same_bits(one, two):
    return set(one) == set(two) and all(torch.equal(one[target], two[target]) for target in one)


LAYOUTS = {
    "plain": {},
    "alpha": {"config": {"lora_alpha": 7}},
    "rslora": {"config": {"lora_alpha": 7, "use_rslora": True}},
    "patterns": {
        "config": {
            "rank_pattern": {"conv1": 2, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 3},
            "alpha_pattern": {"conv1": 5, "attn2.to_k": 1},
        }
    },
    "text encoder": {"text": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "fc1"]}},
    "bias": {"config": {"target_modules": ["to_out.0", "conv1"], "lora_bias": True}},
    "no metadata": {"metadata": False},
}


# PEFT takes the one-dimensional bias of lora_bias for a shard that was not gathered.
@pytest.mark.filterwarnings("ignore:.*LoRA tensor.*invalid shape:UserWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_lora_at_weight_one_is_what_diffusers_and_peft_make_of_it(world, engine, layout):
    path = world.lora("one", 11, **LAYOUTS[layout])
    oracle = world.fused_by_diffusers(path)
    report = engine.apply(world.plan(world.expert("one")), world.locate, measure=True)
    changed = 0
    for target, expected in oracle.items():
        torch.testing.assert_close(engine.weights[target], expected, rtol=1e-5, atol=1e-6)
        changed += not torch.equal(expected, engine.pristine[target])
    assert changed == report.targets == report.recomputed > 0
    assert report.experts[0].coverage == report.experts[0].energy_coverage == 1.0
    assert report.delta_norm > 0


def test_a_full_checkpoint_at_weight_one_is_that_checkpoint(world, engine):
    report = engine.apply(world.plan(world.expert("tuned")), world.locate)
    tuned = UNet2DConditionModel.from_pretrained(world.paths["tuned"] / "unet")
    for key, expected in tuned.named_parameters():
        torch.testing.assert_close(engine.weights[f"unet.{key}"], expected.detach(), rtol=1e-6, atol=1e-8)
    assert report.targets == sum("mid_block" in key for key, _ in tuned.named_parameters())


def test_the_weight_file_of_a_checkpoint_is_as_good_as_its_folder(world, engine):
    engine.apply(world.plan(world.expert("tuned")), world.locate)
    by_folder = snapshot(engine)
    world.add("tuned", world.paths["tuned"] / "unet" / "diffusion_pytorch_model.safetensors")
    engine.reset()
    engine.apply(world.plan(world.expert("tuned")), world.locate)
    assert same_bits(by_folder, engine.weights)


def test_checkpoint_and_loras_together_are_the_dense_sum(world, engine):
    names = {"tuned": 0.5, "owl": 0.8, "ink": -0.3}
    engine.apply(world.plan(*(world.expert(n, w) for n, w in names.items())), world.locate)
    experts = {name: read_expert(world.paths[name], world.base) for name in names}
    for target, pristine in engine.pristine.items():
        dense = pristine.double()
        for name, weight in names.items():
            if target in experts[name].deltas:
                dense = dense + weight * experts[name].deltas[target].dense().double()
        torch.testing.assert_close(engine.weights[target].double(), dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", sorted(methods()))
def test_weight_zero_and_no_expert_are_the_base_bit_for_bit(world, engine, method):
    engine.apply(world.plan(world.expert("owl")), world.locate)
    report = engine.apply(world.plan(world.expert("owl", 0.0), method=method), world.locate)
    assert report.targets == 0
    assert report.restored > 0
    assert same_bits(engine.weights, engine.pristine)
    engine.apply(world.plan(method=method), world.locate)
    assert same_bits(engine.weights, engine.pristine)


@pytest.mark.parametrize("method", sorted(methods()))
def test_order_does_not_matter_and_a_fresh_engine_gives_the_same_bits(world, engine, method):
    specs = [world.expert("owl"), world.expert("ink", 0.7, "style"), world.expert("stars", 0.9, "background")]
    seen = []
    for order in itertools.permutations(specs):
        engine.reset()
        engine.apply(world.plan(*order, method=method), world.locate)
        seen.append(snapshot(engine))
    assert all(same_bits(seen[0], other) for other in seen[1:])
    fresh = Engine(world.base_dir, device="cpu")
    plan = type(world.plan()).model_validate_json(world.plan(*specs, method=method).model_dump_json())
    fresh.apply(plan, world.locate)
    assert same_bits(seen[0], fresh.weights)


@pytest.mark.parametrize("method", sorted(set(methods())))
def test_one_expert_at_weight_one_is_that_expert_for_every_method(world, engine, method):
    engine.apply(world.plan(world.expert("owl")), world.locate)
    alone = snapshot(engine)
    engine.reset()
    engine.apply(world.plan(world.expert("owl"), world.expert("ink", 0.0), method=method), world.locate)
    assert same_bits(alone, engine.weights)


def test_a_thousand_switches_leave_the_base_and_the_last_plan_exact(world, engine):
    before = engine.fingerprint()
    draw = random.Random(0)
    names = ["owl", "ink", "stars", "tuned"]
    for _ in range(1000):
        chosen = draw.sample(names, draw.randint(0, 2))
        engine.apply(world.plan(*(world.expert(n, draw.choice([0.5, 1.0, -2.0])) for n in chosen)), world.locate)
    last = world.plan(world.expert("owl", 0.6), world.expert("stars", 1.1, "background"))
    engine.apply(last, world.locate)
    fresh = Engine(world.base_dir, device="cpu")
    fresh.apply(last, world.locate)
    assert same_bits(engine.weights, fresh.weights)
    assert engine.fingerprint() == before == fresh.fingerprint()


def test_only_what_changed_is_recomputed(world, engine):
    owl, stars = world.expert("owl"), world.expert("stars", 0.5, "background")
    first = engine.apply(world.plan(owl, stars), world.locate, measure=True)
    assert first.recomputed == first.targets
    again = engine.apply(world.plan(owl, stars, prompt="another prompt"), world.locate, measure=True)
    assert (again.recomputed, again.restored, again.targets) == (0, 0, first.targets)
    assert again.delta_norm == first.delta_norm
    without = engine.apply(world.plan(owl), world.locate)
    touched_by_stars = len(read_expert(world.paths["stars"], world.base).deltas)
    assert without.recomputed == touched_by_stars
    assert engine.apply(world.plan(), world.locate).restored == without.targets


def test_an_error_changes_nothing(world, engine):
    engine.apply(world.plan(world.expert("owl")), world.locate)
    before, base = snapshot(engine), engine.fingerprint()
    bad = world.tensors("owl")
    key = sorted(bad)[0]
    bad[key][0, 0] = float("nan")
    world.write("poisoned", bad)
    with pytest.raises(ExpertError, match="NaN") as caught:
        engine.apply(world.plan(world.expert("ink"), world.expert("poisoned")), world.locate)
    assert caught.value.keys == (key,)
    with pytest.raises(PlanError, match="cannot hold"):
        engine.apply(world.plan(world.expert("ink", 3e38), world.expert("stars", 3e38)), world.locate)
    assert same_bits(before, engine.weights)
    assert engine.fingerprint() == base


def stop_after(monkeypatch, writes):
    """From the given write on, every write of a merged weight is interrupted, also those that put things right."""
    real, count = Engine._write, itertools.count()

    def interrupted(self, task):
        if next(count) >= writes:
            raise KeyboardInterrupt
        real(self, task)

    monkeypatch.setattr(Engine, "_write", interrupted)


def test_an_interrupt_leaves_the_plan_before(world, engine, monkeypatch):
    engine.apply(world.plan(world.expert("ink")), world.locate)
    before = snapshot(engine)
    real, count = Engine._write, itertools.count()

    def interrupted_once(self, task):
        real(self, task)
        if next(count) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "_write", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        engine.apply(world.plan(world.expert("owl")), world.locate)
    assert next(count) > 10, "nothing had to be put right"
    assert same_bits(before, engine.weights)
    again = engine.apply(world.plan(world.expert("ink")), world.locate)
    assert (again.recomputed, again.restored) == (0, 0)


@pytest.mark.parametrize("first", [[], ["ink"]])
def test_an_interrupt_of_the_repair_is_made_good_by_the_next_plan(world, engine, monkeypatch, first):
    engine.apply(world.plan(*map(world.expert, first)), world.locate)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            engine.apply(world.plan(world.expert("owl")), world.locate)
    engine.apply(world.plan(world.expert("stars")), world.locate)
    after = snapshot(engine)
    engine.reset()
    assert same_bits(engine.weights, engine.pristine)
    engine.apply(world.plan(world.expert("stars")), world.locate)
    assert same_bits(after, engine.weights)


def test_a_switch_writes_where_the_last_one_wrote(world, engine):
    engine.apply(world.plan(world.expert("owl")), world.locate)
    places = {target: weight.data_ptr() for target, weight in engine.weights.items()}
    engine.apply(world.plan(world.expert("owl", 0.5), world.expert("ink")), world.locate)
    assert {target: weight.data_ptr() for target, weight in engine.weights.items()} == places
    engine.reset()
    engine.apply(world.plan(world.expert("owl")), world.locate)
    assert {target: weight.data_ptr() for target, weight in engine.weights.items()} == places


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_in_its_files_and_one_in_memory_merge_alike(world, dtype):
    plan = world.plan(world.expert("owl", 0.7), world.expert("ink"))
    seen = []
    for where in ("file", "memory"):
        engine = Engine(world.base_dir, "cpu", dtype, base_in=where)
        held = len(engine._base_weights._held)
        assert held == (0 if where == "file" else len(engine.pristine))
        fingerprint = engine.fingerprint()
        engine.apply(plan, world.locate)
        merged = snapshot(engine)
        engine.reset()
        assert same_bits(engine.weights, engine.pristine)
        assert engine.fingerprint() == fingerprint
        seen.append((merged, fingerprint))
    assert same_bits(seen[0][0], seen[1][0])
    assert seen[0][1] == seen[1][1]


def test_a_weight_that_the_loader_changes_is_kept_as_loaded(world, monkeypatch):
    """The file is not what the pipeline computes with there, so it cannot be what merges start from."""
    real = pipeline_loading.load_pipeline

    def turned(*args):
        pipe = real(*args)
        weight = pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight
        weight.data = weight.data.T.contiguous()
        return pipe

    monkeypatch.setattr("diffgraph.merging.engine.engine.load_pipeline", turned)
    engine = Engine(world.base_dir, device="cpu")
    target = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert list(engine._base_weights._held) == [target]
    assert torch.equal(engine.pristine[target], world.base.tensor(target).T)
    engine.apply(world.plan(world.expert("owl")), world.locate)
    engine.reset()
    assert torch.equal(engine.weights[target], world.base.tensor(target).T)


def test_files_that_change_under_the_engine_are_noticed(world, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(world.base_dir, folder)
    engine = Engine(folder, device="cpu")
    copy = shutil.copy(world.paths["owl"], tmp_path / "copy.safetensors")
    world.add("copy", copy)
    plan = world.plan(world.expert("copy"))
    engine.apply(plan, world.locate)
    expected = snapshot(engine)
    engine.reset()
    shutil.copy(world.paths["ink"], copy)  # the same file, written over
    with pytest.raises(PlanError, match="not the one in the plan"):
        engine.apply(plan, world.locate)
    world.paths["copy"] = world.paths["owl"]  # the right bytes again, elsewhere: not those of the spoilt file
    engine.apply(plan, world.locate)
    assert same_bits(expected, engine.weights)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    with pytest.raises(UserError, match="was changed while the base was in use"):
        engine.apply(plan, world.locate)


def test_norms_are_measured_when_asked_for(world, engine):
    plan = world.plan(world.expert("owl", 0.5), world.expert("ink"))
    quiet = engine.apply(plan, world.locate)
    assert quiet.delta_norm is None
    assert [expert.norm for expert in quiet.experts] == [None, None]
    told = engine.apply(plan, world.locate, measure=True)
    moved = sum(float((w.double() - engine.pristine[t].double()).square().sum()) for t, w in engine.weights.items())
    assert told.delta_norm == pytest.approx(moved**0.5, rel=1e-4)
    owl = next(e for e in told.experts if e.id == "owl")
    assert owl.norm == pytest.approx(read_expert(world.paths["owl"], world.base).norm())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_accumulates_in_float32_and_rounds_once(world, dtype):
    half = Engine(world.base_dir, device="cpu", dtype=dtype)
    half.apply(world.plan(world.expert("owl", 0.5), world.expert("stars", 0.5)), world.locate)
    owl, stars = (read_expert(world.paths[name], world.base) for name in ("owl", "stars"))
    target = next(t for t in stars.deltas if t in owl.deltas)
    exact = half.pristine[target].double()
    exact = exact + 0.5 * owl.deltas[target].dense().double() + 0.5 * stars.deltas[target].dense().double()
    step = torch.finfo(half.dtype).eps
    error = (half.weights[target].double() - exact).abs()
    assert bool((error <= exact.abs() * step * 0.51 + 1e-6).all())


def test_experts_leave_the_cache_by_bytes(world):
    small = Engine(world.base_dir, device="cpu", expert_cache_bytes=1)
    plan = world.plan(world.expert("owl"), world.expert("stars"))
    small.apply(plan, world.locate)
    first = snapshot(small)
    assert len(small._experts) == 1
    small.reset()
    small.apply(plan, world.locate)
    assert same_bits(first, small.weights)


def test_block_weights_are_names_or_globs_never_substrings(world, engine):
    blocks = {"mid_block.*": 0.0, "mid_block.attentions.*": 2.0, "unet.up_blocks.0.resnets.1.conv1": 0.5}
    engine.apply(world.plan(world.expert("owl", blocks=blocks)), world.locate)
    owl = read_expert(world.paths["owl"], world.base)
    for target, delta in owl.deltas.items():
        factor = 1.0
        if target.startswith("unet.mid_block."):
            factor = 2.0 if ".attentions." in target else 0.0
        elif target == "unet.up_blocks.0.resnets.1.conv1.weight":
            factor = 0.5
        expected = engine.pristine[target] + factor * delta.dense()
        torch.testing.assert_close(engine.weights[target], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("room", "dtype"), [(1.5, "float32"), (2.5, "float32"), (2.5, "bfloat16")])
def test_memory_for_merged_matrices_is_touched_while_the_base_loads_if_there_is_room(world, monkeypatch, room, dtype):
    unet = UNet2DConditionModel.from_pretrained(world.base_dir / "unet")
    size = sum(p.numel() for p in unet.parameters() if p.ndim == 2) * (4 if dtype == "float32" else 2)
    asked = []
    monkeypatch.setattr("diffgraph.merging.engine.engine.available_bytes", lambda: int(room * size))
    monkeypatch.setattr(
        "diffgraph.merging.engine.engine.MergedMemory.prepare", lambda self, nbytes: asked.append(nbytes)
    )
    Engine(world.base_dir, "cpu", dtype)
    assert asked == ([size] if room > 2 else [])


def test_merging_into_memory_that_was_touched_beforehand_gives_the_same_bits(world, engine, monkeypatch):
    world.lora("one", 11)
    plan = world.plan(world.expert("one"))
    engine.apply(plan, world.locate)
    prepared = []
    monkeypatch.setattr(
        "diffgraph.merging.engine.merged_memory._CHUNK", 2**12
    )  # the tiny base is smaller than a real chunk
    begin = MergedMemory.prepare
    monkeypatch.setattr(MergedMemory, "prepare", lambda self, nbytes: prepared.append(begin(self, nbytes)))
    fresh = Engine(world.base_dir, "cpu")
    prepared[0].join()
    assert fresh._memory._touched
    waiting = len(fresh._memory._touched)
    fresh.apply(plan, world.locate)
    assert len(fresh._memory._touched) < waiting
    assert same_bits(snapshot(fresh), snapshot(engine))
