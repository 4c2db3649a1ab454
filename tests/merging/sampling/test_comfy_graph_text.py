"""The graph that ComfyUI reads: there where its own nodes do what a plan says, and read back as the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffgraph.merging.plan.foreign.image_text import ImageTexts, read_texts
from diffgraph.merging.plan.foreign.reader import read_recipe, recipe_in
from diffgraph.merging.plan.merge_plan import MergePlan, Method, PlanBase, PlanExpert, PlanVae, Sampler, Switch
from diffgraph.merging.plan.samplers import DEFAULT, KINDS, understood
from diffgraph.merging.sampling.a1111_text import expert_names
from diffgraph.merging.sampling.comfy_graph_text import comfy_graph
from diffgraph.merging.sampling.png_record import save_png


def plan_of(family: str = "sdxl", **more: Any) -> MergePlan:
    experts = (
        PlanExpert(id="f/ink", ref="folder:/l@0:ink wash.safetensors", sha256="1" * 64, weight=0.7),
        PlanExpert(id="f/owl", ref="hub:a/owl@0:pytorch_lora_weights.safetensors", sha256="2" * 64, weight=0.5,
                   components={"text_encoder*": 0.5}),
    )  # fmt: skip
    base = PlanBase(ref="file:my xl", family=family, sha256="ab" * 32)
    sampler = Sampler(name="dpmpp_2m_karras", steps=7, guidance=4.5)
    usual = {"base": base, "experts": experts, "prompt": "a (mill:1.2)", "negative_prompt": "rain", "sampler": sampler}
    return MergePlan(**(usual | more))


def graph_of(plan: MergePlan, own: str = "") -> dict[str, Any] | None:
    return comfy_graph(plan, 9, (64, 96), expert_names(plan), own)


def test_every_node_is_linked_to_one_before_it() -> None:
    vae = PlanVae(ref="/v/soft.safetensors", sha256="3" * 64)
    graph = graph_of(plan_of(vae=vae, sampler=Sampler(name="euler", clip_skip=2)))
    assert graph is not None
    kinds = [node["class_type"] for node in graph.values()]
    assert kinds[:5] == ["CheckpointLoaderSimple", "LoraLoader", "LoraLoader", "CLIPSetLastLayer", "VAELoader"]
    assert kinds[5:8] == ["CLIPTextEncode", "CLIPTextEncode", "EmptyLatentImage"]
    assert kinds[8:] == ["KSampler", "VAEDecode", "SaveImage"]
    outputs = {"CheckpointLoaderSimple": 3, "LoraLoader": 2}
    for key, node in graph.items():
        for value in node["inputs"].values():
            if isinstance(value, list):
                before, output = value
                assert int(before) < int(key)
                assert output < outputs.get(graph[before]["class_type"], 1)
    assert graph["1"]["inputs"]["ckpt_name"] == "my xl.safetensors"
    assert graph["2"]["inputs"]["lora_name"] == "ink wash.safetensors"
    assert (graph["3"]["inputs"]["strength_model"], graph["3"]["inputs"]["strength_clip"]) == (0.5, 0.25)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux1"])
def test_our_reader_reads_the_same_recipe(family: str) -> None:
    plan = plan_of(family, sampler=Sampler(name="euler", steps=7, guidance=4.5))
    graph = graph_of(plan)
    found = recipe_in(ImageTexts({"prompt": json.dumps(graph)}))
    assert found is not None
    assert (found.prompt, found.negative_prompt, found.seed, found.steps) == ("a (mill:1.2)", "rain", 9, 7)
    assert (found.base.name, found.width, found.height) == ("my xl", 64, 96)
    guidance = found.distilled_guidance if family == "flux1" else found.guidance
    assert (guidance, understood(found.sampler).name) == (4.5, "euler")
    assert [(e.name, e.weight, e.clip_weight) for e in found.experts] == [("ink wash.safetensors", 0.7, None),
                                                                         ("owl.safetensors", 0.5, 0.25)]  # fmt: skip
    assert (found.vae.said, found.extras) == (False, ())


@pytest.mark.parametrize("sampler", [*KINDS, DEFAULT])
def test_a_sampler_is_written_as_comfyui_knows_it_or_not_at_all(sampler: str) -> None:
    graph = graph_of(plan_of(sampler=Sampler(name=sampler)))
    if graph is None:
        assert sampler in (DEFAULT, "dpmpp_2s", "dpmpp_3m", "pndm", "tcd")
        return
    (word,) = [n["inputs"]["sampler_name"] for n in graph.values() if n["class_type"] == "KSampler"]
    assert understood(word).name == sampler
    assert graph_of(plan_of(sampler=Sampler()), own=sampler) == graph


@pytest.mark.parametrize(
    "change",
    [
        {"method": Method(name="ties")}, {"method": Method(params={"normalize": True})}, {"schedule": Switch()},
        {"base": PlanBase(ref="x", family="qwen_image", sha256="ab" * 32)}, {"sampler": Sampler(name="euler_linspace")},
        {"experts": (PlanExpert(id="a", ref="", sha256="1" * 64, blocks={"down_blocks.*": 0.5}),)},
        {"experts": (PlanExpert(id="a", ref="", sha256="1" * 64, components={"text_encoder_2": 0.5}),)},
    ],
)  # fmt: skip
def test_what_its_nodes_do_not_do_is_left_out(change: dict[str, Any]) -> None:
    assert graph_of(plan_of(**change)) is None


def test_an_image_of_ours_carries_both_and_is_read_by_its_plan(tmp_path: Path) -> None:
    plan = plan_of(seeds=(9,))
    save_png(Image.new("RGB", (64, 96)), tmp_path / "a.png", plan, 9)
    assert json.loads(read_texts(tmp_path / "a.png")["prompt"]) == graph_of(plan)
    found = read_recipe(tmp_path / "a.png")
    assert (found.plan, found.notes, [e.name for e in found.experts]) == (plan, (), ["f/ink", "f/owl"])
    save_png(Image.new("RGB", (64, 96)), tmp_path / "b.png", plan, 9, graph=False)
    assert read_texts(tmp_path / "b.png")["prompt"] == ""
