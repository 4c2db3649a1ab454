"""``recipe`` as a person meets it, on a tiny real pipeline: images of other programs become plans that are sound."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner, Result

from diffgraph.cli.main import app
from diffgraph.files.payload_hash import payload_sha256
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan, Sampler
from diffgraph.merging.sampling.a1111_text import payload_sums
from diffgraph.merging.sampling.pipeline import render
from diffgraph.merging.sampling.png_record import save_png

Run = Callable[..., Result]


@pytest.fixture
def loras(world: Any) -> Path:
    """Two loose files; nobody registered them."""
    folder = world.root / "loras"
    folder.mkdir()
    shutil.copy(world.paths["owl"], folder / "great owl_v3.safetensors")
    shutil.copy(world.paths["ink"], folder / "Ink Wash.safetensors")
    return folder


@pytest.fixture
def run(world: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, over the tiny base."""
    monkeypatch.setenv("DIFFGRAPH_BASE", str(world.base_dir))
    monkeypatch.setenv("DIFFGRAPH_DEVICE", "cpu")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="diffgraph")


def image(path: Path, **texts: Any) -> Path:
    info = PngInfo()
    for name, value in texts.items():
        info.add_text(name, value if isinstance(value, str) else json.dumps(value))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def a1111(loras: Path, more: str = "") -> str:
    owl = payload_sha256(loras / "great owl_v3.safetensors")[:12]
    return (
        f"an owl <lora:someone_elses_name:0.8:0.4> <lora:ink_wash:0.6>{more}\nNegative prompt: rain\n"
        "Steps: 3, Sampler: Euler a, CFG scale: 4.5, Seed: 77, Size: 20x16, Model hash: 1234567890, Model: v1-5, "
        f'Clip skip: 2, Hires upscale: 2, Lora hashes: "someone_elses_name: {owl}, ink_wash: 00000000aaaa"'
    )


def test_an_image_of_a1111_becomes_a_plan_that_is_right(run: Run, world: Any, loras: Path, tmp_path: Path) -> None:
    path, plan_file = image(tmp_path / "a.png", parameters=a1111(loras)), tmp_path / "plan.json"
    done = run("recipe", path, "--experts", loras, "--out", plan_file, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    plan = MergePlan.load(plan_file)
    assert said["plan_id"] == plan.plan_id == MergePlan.model_validate(said["plan"]).plan_id
    assert (plan.base.sha256, plan.prompt, plan.negative_prompt, plan.seeds) == (
        world.base.sha256, "an owl", "rain", (77,)
    )  # fmt: skip
    assert plan.sampler == Sampler(name="euler_a", steps=3, guidance=4.5, width=16, height=16, clip_skip=2)
    owl, ink = plan.experts
    assert (owl.id, owl.sha256) == ("great owl_v3", world.expert("owl").sha256)
    assert (owl.weight, owl.components) == (0.4, {"text_encoder*": 2.0})
    assert (ink.id, ink.weight, ink.components) == ("Ink Wash", 0.6, {})
    assert [match["by"] for match in said["experts"]] == ["hash", "other version"]
    assert [(one["name"], one["value"]) for one in said["left_out"]] == [("Hires upscale", "2")]
    notes = " ".join(said["notes"])
    assert "the image was made on v1-5 (hash 1234567890); the plan is for the base in force" in notes
    assert "20x16 becomes 16x16" in notes
    for more in ([], ["--experts", loras]):
        checked = run("plan", "--check", plan_file, *more)
        assert checked.exit_code == 0, checked.output
    words = run("recipe", path, "--experts", loras)
    assert words.exit_code == 0
    for piece in ("A1111", "Ink Wash is another version of ink_wash", "left out: Hires upscale: 2", plan.plan_id):
        assert piece in words.stdout


def test_a_graph_of_comfyui_and_what_is_missing(run: Run, loras: Path, tmp_path: Path) -> None:
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "great owl_v3.safetensors", "strength_model": 0.0,
              "strength_clip": 0.7, "model": ["1", 0], "clip": ["1", 1]}},
        "3": {"class_type": "LoraLoaderModelOnly", "inputs": {"lora_name": "ink_wash-000010.safetensors",
              "strength_model": 1.0, "model": ["2", 0]}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "an owl, embedding:neg", "clip": ["2", 1]}},
        "5": {"class_type": "KSampler", "inputs": {"seed": 2**64 - 1, "steps": 4, "cfg": 5, "sampler_name": "er_sde",
              "scheduler": "karras", "denoise": 1, "model": ["3", 0], "positive": ["4", 0], "negative": ["6", 0],
              "latent_image": ["7", 0]}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "rain", "clip": ["2", 1]}},
        "7": {"class_type": "EmptyLatentImage", "inputs": {"width": 16, "height": 24, "batch_size": 1}},
    }  # fmt: skip
    done = run("recipe", image(tmp_path / "a.png", prompt=graph), "--experts", loras, "--json")
    assert done.exit_code == 1, done.output
    said = json.loads(done.stdout)
    (owl,) = said["plan"]["experts"]
    assert (owl["weight"], owl["components"]) == (0.7, {"unet": 0.0})
    assert said["plan"]["seeds"] == [2**64 - 1]
    assert [match["by"] for match in said["experts"]] == ["name", "missing", "missing"]
    assert said["experts"][1]["candidates"] == ["Ink Wash"]
    left = {one["name"]: one["value"] for one in said["left_out"]}
    assert left == {
        "expert": "ink_wash-000010.safetensors",
        "textual inversion": "neg: its word stays in the prompt",
        "scheduler": "karras",
        "sampler": "er_sde",
    }


def test_our_own_image_gives_its_own_plan_back_and_replays(
    run: Run, world: Any, engine: Engine, loras: Path, tmp_path: Path
) -> None:
    plan = world.plan(
        world.expert("owl", 0.8, trigger="owl"), world.expert("ink", 0.5, "style", blocks={"down_blocks.*": 0.5}),
        method="ties", params={"density": 0.5}, seeds=(3,), sampler=Sampler(steps=2),
    )  # fmt: skip
    pixels = render(engine, plan, world.locate)[0]
    save_png(pixels, tmp_path / "a.png", plan, 3, sums=payload_sums(plan, world.locate))
    done = run("recipe", tmp_path / "a.png", "--experts", loras, "--out", tmp_path / "plan.json")
    assert done.exit_code == 0, done.output
    again = MergePlan.load(tmp_path / "plan.json")
    assert again.plan_id != plan.plan_id  # the files lie elsewhere now
    places = {one.id: one.ref for one in plan.experts}
    experts = tuple(one.model_copy(update={"ref": places[one.id]}) for one in again.experts)
    assert again.model_copy(update={"experts": experts}) == plan.model_copy(update={"base": again.base})
    assert run("replay", tmp_path / "a.png", "--experts", loras).exit_code == 0
    image(tmp_path / "b.png", parameters=Image.open(tmp_path / "a.png").text["parameters"])
    said = json.loads(run("recipe", tmp_path / "b.png", "--experts", loras, "--json").stdout)
    assert [(match["by"], match["expert"]) for match in said["experts"]] == [
        ("hash", "great owl_v3"),
        ("hash", "Ink Wash"),
    ]
    assert [(one["name"], one["value"]) for one in said["left_out"]] == [("Merge method", "ties")]
    assert said["recipe"]["tool"] == "DiffGraph"


def test_a_base_that_draws_by_flow_keeps_its_sampler_and_its_own_guidance(
    run: Run, world: Any, loras: Path, tmp_path: Path
) -> None:
    base = tmp_path / "FLUX.1-dev"
    shutil.copytree(world.base_dir, base)
    config = base / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    text = (
        "an owl <lora:ink_wash:0.6>\nNegative prompt: rain\nSteps: 3, Sampler: {}, Schedule type: Simple, "
        "CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 7, Size: 16x16"
    )
    samplers = {"Euler": "default", "DPM++ 2M": "dpmpp_2m", "DDIM": "default"}
    for sampler, drawn in samplers.items():
        left = ["negative prompt", *(["sampler"] if sampler == "DDIM" else [])]
        path = image(tmp_path / "a.png", parameters=text.format(sampler))
        said = json.loads(run("recipe", path, "--experts", loras, "--base", base, "--json").stdout)
        assert said["plan"]["sampler"] | {"name": drawn, "guidance": 3.5} == said["plan"]["sampler"]
        assert said["plan"]["negative_prompt"] == ""
        assert [one["name"] for one in said["left_out"]] == left


def test_one_expert_named_twice_counts_with_the_sum_of_its_weights(run: Run, loras: Path, tmp_path: Path) -> None:
    path = image(tmp_path / "a.png", parameters=a1111(loras, " <lora:Ink Wash:0.25>"))
    said = json.loads(run("recipe", path, "--experts", loras, "--json").stdout)
    assert [one["weight"] for one in said["plan"]["experts"]] == [0.4, 0.85]
    assert "its weights add up to 0.85" in " ".join(said["notes"])


def test_without_a_base_the_recipe_is_shown_all_the_same(
    run: Run, loras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image(tmp_path / "a.png", parameters=a1111(loras))
    monkeypatch.setenv("DIFFGRAPH_BASE", str(tmp_path / "nowhere"))
    done = run("recipe", path, "--out", tmp_path / "plan.json", "--json")
    assert done.exit_code == 1, done.output
    said = json.loads(done.stdout)
    assert (said["plan"], said["recipe"]["seed"]) == (None, 77)
    assert "no plan: There is no diffusers pipeline" in said["notes"][0]
    assert not (tmp_path / "plan.json").exists()
    assert run("recipe", path, "--base", tmp_path / "nowhere").exit_code == 2


def test_what_cannot_be_read_is_one_sentence(run: Run, loras: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    good = image(tmp_path / "a.png", parameters=a1111(loras))
    for words in ([tmp_path / "plain.png"], [tmp_path / "gone.png"], [good, "--experts", tmp_path / "nowhere"]):
        done = run("recipe", *words)
        assert done.exit_code == 2
        assert len(done.stderr.strip().splitlines()) == 1
