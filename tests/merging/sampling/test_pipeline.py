"""Images: deterministic, honest about progress, and errors that say what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from diffgraph.errors import PlanError, UserError
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan, Sampler
from diffgraph.merging.sampling.pipeline import render, render_all
from diffgraph.merging.sampling.png_record import pixels_sha256


def hashes(images):
    return [pixels_sha256(image) for image in images]


def test_the_same_plan_gives_the_same_image_in_another_process(world, engine, tmp_path):
    specs = [world.expert("owl"), world.expert("ink", 0.7, "style"), world.expert("stars", 0.5, "background")]
    plan = world.plan(*specs, method="np_lora", seeds=(7, 8))
    engine.apply(world.plan(world.expert("tuned")), world.locate)
    here = render(engine, plan, world.locate)
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from diffgraph.merging.engine.engine import Engine;"
        "from diffgraph.merging.sampling.pipeline import render;"
        "from diffgraph.merging.plan.merge_plan import MergePlan;"
        "from diffgraph.merging.sampling.png_record import pixels_sha256;"
        "plan = MergePlan.load(Path(sys.argv[1])); paths = dict(zip(sys.argv[3::2], sys.argv[4::2]));"
        "engine = Engine(Path(sys.argv[2]), device='cpu');"
        "print(*map(pixels_sha256, render(engine, plan, lambda e: Path(paths[e.id]))))"
    )
    paths = [str(text) for spec in specs for text in (spec.id, world.paths[spec.id])]
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "plan.json"), str(world.base_dir), *paths],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "123", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert run.stdout.split() == hashes(here)
    assert len(set(hashes(here))) == 2
    assert here[0].size == (8, 8)
    assert here[0].mode == "RGB"


def test_an_image_depends_on_its_own_seed_only(world, engine):
    owl = world.expert("owl")
    both = hashes(render(engine, world.plan(owl, seeds=(1, 2)), world.locate))
    alone = [hashes(render(engine, world.plan(owl, seeds=(s,)), world.locate))[0] for s in (1, 2)]
    assert both == alone
    assert hashes(render(engine, world.plan(owl, seeds=(2, 1)), world.locate)) == both[::-1]


def test_an_expert_changes_the_image_and_leaving_it_out_changes_it_back(world, engine):
    base = hashes(render(engine, world.plan(), world.locate))
    assert hashes(render(engine, world.plan(world.expert("owl")), world.locate)) != base
    assert hashes(render(engine, world.plan(), world.locate)) == base


def test_batches_share_merges_and_equal_single_images_to_a_grey_level(world, engine):
    owl, ink = world.expert("owl"), world.expert("ink")
    plans = [
        world.plan(owl, prompt="an owl", seeds=(1, 2)),
        world.plan(ink, prompt="an owl", seeds=(3,)),
        world.plan(owl, prompt="a cat", negative_prompt="dog", seeds=(4,)),
    ]
    steps = []
    together = render_all(engine, plans, world.locate, lambda done, total: steps.append((done, total)))
    assert [len(images) for images in together] == [2, 1, 1]
    for plan, images in zip(plans, together, strict=True):
        for one, other in zip(images, render(engine, plan, world.locate), strict=True):
            assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
    assert steps[-1] == (6, 6)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_progress_counts_every_step_to_the_end(world, engine):
    steps = []
    render(engine, world.plan(seeds=(1, 2)), world.locate, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (6, 6)
    assert {total for _, total in steps} == {6}
    assert sorted({done for done, _ in steps}) == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_while_sampling_leaves_the_engine_fit(world, engine):
    scheduler = engine.pipe.scheduler

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(engine, world.plan(world.expert("owl")), world.locate, stop)
    assert engine.pipe.scheduler is scheduler
    first = hashes(render(engine, world.plan(world.expert("ink")), world.locate))
    fresh = Engine(world.base_dir, device="cpu")
    assert hashes(render(fresh, world.plan(world.expert("ink")), world.locate)) == first


@pytest.mark.parametrize("name", ["default", "ddim", "dpmpp_2m", "euler", "euler_a", "heun", "unipc"])
def test_samplers_are_fresh_every_time(world, engine, name):
    plan = world.plan(sampler=Sampler(name=name, steps=2))
    assert hashes(render(engine, plan, world.locate)) == hashes(render(engine, plan, world.locate))


def test_bad_samplers_and_sizes_are_plan_errors(world, engine):
    with pytest.raises(PlanError, match="did you mean euler"):
        render(engine, world.plan(sampler=Sampler(name="eulr", steps=1)), world.locate)
    with pytest.raises(PlanError, match="multiples of"):
        render(engine, world.plan(sampler=Sampler(steps=1, width=9)), world.locate)
    wide = render(engine, world.plan(sampler=Sampler(steps=1, width=16, height=8)), world.locate)
    assert wide[0].size == (16, 8)


def test_a_model_that_gives_nan_is_a_plan_error_and_not_a_black_image(world, engine):
    plan = world.plan(world.expert("owl", 1e30), world.expert("ink", -1e30))
    with pytest.raises(PlanError, match="NaN instead of an image"):
        render(engine, plan, world.locate)


def test_a_damaged_or_missing_base_is_a_user_error(world, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(world.base_dir, folder)
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot be loaded"):
        Engine(folder, device="cpu")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        Engine(folder, device="cpu")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UserError, match="pickles only"):
        Engine(folder, device="cpu")
    weights.with_suffix(".bin").unlink()
    with pytest.raises(UserError, match="weights are missing"):
        Engine(folder, device="cpu")
    (folder / "model_index.json").write_text("[")
    with pytest.raises(UserError, match="JSON"):
        Engine(folder, device="cpu")


def test_a_plan_read_back_is_the_same_plan(world, tmp_path):
    plan = world.plan(world.expert("owl", 0.3, blocks={"mid_block.*": 0.5}), method="ties", params={"density": 0.4})
    (tmp_path / "p.json").write_text(plan.model_dump_json())
    assert MergePlan.load(tmp_path / "p.json") == plan
    assert MergePlan.load(tmp_path / "p.json").plan_id == plan.plan_id
