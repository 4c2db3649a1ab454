"""What can be told of drawing without weights is what the loaded pipeline says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from diffgraph_pico import pipelines
from diffusers import DiffusionPipeline

from diffgraph.bases.index import BaseIndex
from diffgraph.merging.plan.check import CheckReport, check
from diffgraph.merging.plan.drawable import drawability
from diffgraph.merging.plan.merge_plan import MergePlan, PlanBase, Sampler
from diffgraph.merging.plan.samplers import OwnScheduler
from diffgraph.merging.sampling.call import side_multiple, takes_negative


def checked(base: Path, negative: str = "", **sampler: Any) -> CheckReport:
    index = BaseIndex.open(base)
    said = PlanBase(ref="folder:x", family="any", sha256=index.sha256)
    plan = MergePlan(base=said, prompt="a fox", negative_prompt=negative, sampler=Sampler(**sampler))
    return check(plan, index, lambda ref: Path(ref))


@pytest.mark.parametrize("name", pipelines.MAKERS)
def test_folders_and_pipelines_say_the_same(pico, name: str) -> None:
    folder = pico(name).base
    pipe = DiffusionPipeline.from_pretrained(folder)
    found = drawability(folder)
    assert found.multiple == side_multiple(pipe)
    assert found.negative == takes_negative(pipe)
    assert found.scheduler == OwnScheduler.of(type(pipe.scheduler).__name__, pipe.scheduler.config)
    assert (found.one_area == 1024**2) == (name == "hidream")


@pytest.mark.parametrize("name", ["flux1", "sd3", "qwen"])
def test_a_check_names_what_a_flow_cannot_be_drawn_with(pico, name: str) -> None:
    base = pico(name).base
    report = checked(base, name="ddim", width=72, height=72)
    assert not report.ok
    said = {problem.code: problem.message for problem in report.problems}
    assert "possible are default, deis" in said["sampler"]
    assert "multiples of 16" in said["size"]
    assert checked(base, name="Euler", width=64, height=64).ok
    assert checked(base, name="DPM++ 2M Karras").ok


def test_a_check_names_negative_prompts_and_guidance_that_cannot_act(pico, tmp_path: Path) -> None:
    assert [p.code for p in checked(pico("flux1").base, "blurry").problems if p.fatal] == ["negative"]
    assert [p.code for p in checked(pico("sd15").base, "blurry", guidance=1.0).problems if p.fatal] == ["negative"]
    assert checked(pico("sd15").base, "blurry").ok
    note = [p for p in checked(pico("flux2_klein").base, guidance=4.0).problems if p.code == "guidance"]
    assert [p.fatal for p in note] == [False]
    assert not [p for p in checked(pico("flux2_klein").base, guidance=1.0).problems if p.code == "guidance"]
    schnell = tmp_path / "schnell"
    shutil.copytree(pico("flux1").base, schnell)
    config = schnell / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"guidance_embeds": False}))
    assert [p.code for p in checked(schnell, guidance=3.5).problems if p.code == "guidance"] == ["guidance"]


def test_a_check_knows_the_one_area_of_hidream(pico) -> None:
    assert "would become 1024x1024" in checked(pico("hidream").base, width=512, height=512).sentences()
    assert checked(pico("hidream").base, width=1360, height=768).ok


def test_a_check_of_a_base_that_begins_at_pure_noise(pico, tmp_path: Path) -> None:
    base = tmp_path / "noobai-vpred"
    shutil.copytree(pico("sdxl").base, base)
    assert "pure noise" in checked(base, name="heun").sentences()
    assert checked(base, name="euler").ok
