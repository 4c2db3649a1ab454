"""What the engine refuses, and the sentence it says."""

from __future__ import annotations

import pytest
import torch

from diffgraph.errors import ExpertError, PlanError, UserError
from diffgraph.merging.engine.engine import Engine


@pytest.mark.parametrize(("pattern", "hint"), [("down_block.*", "matches no module"), ("mid_block", "mid_block.*?")])
def test_a_block_pattern_that_matches_nothing_is_an_error(world, engine, pattern, hint):
    with pytest.raises(PlanError) as caught:
        engine.apply(world.plan(world.expert("owl", blocks={pattern: 0.5})), world.locate)
    assert hint in str(caught.value)


def test_coverage_under_full_needs_permission(world, engine):
    tensors = world.tensors("owl")
    donor = sorted(key for key in tensors if "mid_block" in key and key.endswith("to_q.lora_A.weight"))[0]
    extra = donor.replace("mid_block", "mid_block_of_another_model")
    tensors[extra] = tensors[donor]
    tensors[extra.replace("lora_A", "lora_B")] = tensors[donor.replace("lora_A", "lora_B")]
    world.write("foreign", tensors)
    with pytest.raises(PlanError, match="mid_block_of_another_model"):
        engine.apply(world.plan(world.expert("foreign")), world.locate)
    report = engine.apply(world.plan(world.expert("foreign"), allow_partial=True), world.locate)
    assert 0.9 < report.experts[0].coverage < 1.0
    assert 0.5 < report.experts[0].energy_coverage < 1.0
    assert len(report.experts[0].missing) == 1


def test_an_expert_that_fits_nothing_or_does_nothing_is_an_error(world, engine):
    alien = {f"unet.elsewhere.{part}.weight": torch.ones(2, 2) for part in ("lora_A", "lora_B")}
    world.write("alien", alien)
    with pytest.raises(PlanError, match="nothing of expert alien fits"):
        engine.apply(world.plan(world.expert("alien"), allow_partial=True), world.locate)
    world.write("silent", {key: tensor * 0 for key, tensor in world.tensors("owl").items()})
    with pytest.raises(PlanError, match="changes nothing"):
        engine.apply(world.plan(world.expert("silent")), world.locate)


def test_bytes_are_pinned(world, engine):
    plan = world.plan(world.expert("owl"))
    world.add("owl", world.paths["ink"])
    with pytest.raises(PlanError, match="not the one in the plan"):
        engine.apply(plan, world.locate)
    other = plan.model_copy(update={"base": plan.base.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(PlanError, match="the plan is for base"):
        engine.apply(other, world.locate)
    world.add("copy", world.paths["ink"])
    with pytest.raises(PlanError, match="same file"):
        engine.apply(world.plan(world.expert("ink"), world.expert("copy")), world.locate)
    world.add("ink", world.root / "gone.safetensors")
    with pytest.raises(ExpertError, match=r"gone\.safetensors"):
        engine.apply(world.plan(plan.experts[0].model_copy(update={"id": "ink"})), world.locate)


def test_unknown_device_dtype_and_base_are_sentences(tmp_path, base_dir):
    with pytest.raises(UserError, match="no device called 'abacus'"):
        Engine(base_dir, device="abacus")
    with pytest.raises(UserError, match="float32, bfloat16, float16"):
        Engine(base_dir, device="cpu", dtype="int8")
    with pytest.raises(UserError, match=r"model_index\.json is missing"):
        Engine(tmp_path / "nowhere", device="cpu")
