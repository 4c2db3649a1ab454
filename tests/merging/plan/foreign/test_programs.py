"""Fooocus, InvokeAI, NovelAI, SwarmUI and our own plans: one image each, as the program lays it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from diffgraph.merging.plan.foreign.recipe import ForeignRecipe
from diffgraph.merging.plan.merge_plan import MergePlan, PlanBase, PlanExpert

Read = Callable[..., ForeignRecipe]
FOOOCUS: dict[str, Any] = {
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8", "base_model_hash": "aeb7e9e689",
    "full_negative_prompt": ["blurry", "photo"], "full_prompt": ["cinematic still a mill", "moody"],
    "guidance_scale": 4, "lora_combined_1": "offset_0.1 : 0.1",
    "loras": [["offset_0.1", 0.1, "4852686128"], ["None", 1.0, ""]], "metadata_scheme": "fooocus",
    "negative_prompt": "", "performance": "Speed", "prompt": "a mill", "resolution": "(896, 1152)",
    "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "5471829300", "sharpness": 2, "steps": 30,
    "styles": "['Fooocus V2']", "vae": "Default (model)", "version": "Fooocus v2.5.5",
}  # fmt: skip


def test_fooocus_in_its_own_scheme(recipe: Read) -> None:
    found = recipe(parameters=FOOOCUS, fooocus_scheme="fooocus")
    assert (found.tool, found.tool_version) == ("Fooocus", "Fooocus v2.5.5")
    assert (found.prompt, found.negative_prompt) == ("cinematic still a mill, moody", "blurry, photo")
    assert (found.seed, found.steps, found.guidance, found.width, found.height) == (5471829300, 30, 4.0, 896, 1152)
    assert (found.base.name, found.base.hashes) == ("juggernautXL_v8", ("aeb7e9e689",))
    assert [(one.name, one.weight, one.hashes) for one in found.experts] == [("offset_0.1", 0.1, ("4852686128",))]
    assert {"prompt before styles", "sharpness", "styles", "vae"} <= {one.name for one in found.extras}


def test_fooocus_in_a1111s_scheme(recipe: Read) -> None:
    text = (
        "cinematic still a mill, moody\nNegative prompt: blurry\nSteps: 30, Sampler: DPM++ 2M SDE Karras, "
        "Seed: 547, Size: 896x1152, CFG scale: 4, Model: juggernautXL_v8, Model hash: aeb7e9e689, "
        'Lora hashes: "offset_0.1: 4852686128, two: 0123456789", Lora weights: "offset_0.1: 0.1, two: 0.7", '
        "Version: Fooocus v2.5.5"
    )
    found = recipe(parameters=text, fooocus_scheme="a1111")
    assert found.tool == "Fooocus"
    assert [(one.name, one.weight, one.hashes) for one in found.experts] == [
        ("offset_0.1", 0.1, ("4852686128",)),
        ("two", 0.7, ("0123456789",)),
    ]


def test_invokeai_of_three_ages(recipe: Read) -> None:
    model = {"key": "k", "hash": "blake3:" + "ab" * 32, "name": "Juggernaut XL", "base": "sdxl", "type": "main"}
    metadata = {
        "generation_mode": "sdxl_txt2img", "positive_prompt": "a mill", "negative_prompt": "rain", "width": 1024,
        "height": 768, "seed": 42, "cfg_scale": 5.5, "steps": 30, "scheduler": "dpmpp_2m_k", "clip_skip": 1,
        "model": model, "app_version": "6.9.0", "hrf_enabled": False, "vae": {"name": "sdxl-vae-fp16"},
        "loras": [{"model": {"name": "Ink", "hash": "sha256:" + "0f" * 32}, "weight": 0.75},
                  {"lora": {"model_name": "old", "base_model": "sdxl"}, "weight": 1}],
    }  # fmt: skip
    found = recipe(invokeai_metadata=metadata)
    assert (found.tool, found.prompt, found.seed, found.clip_skip) == ("InvokeAI", "a mill", 42, 2)
    assert (found.base.name, found.base.hashes) == ("Juggernaut XL", ())
    assert [(one.name, one.weight, one.hashes) for one in found.experts] == [
        ("Ink", 0.75, ("0f" * 32,)),
        ("old", 1.0, ()),
    ]
    assert [(one.name, one.value) for one in found.extras] == [("vae", "sdxl-vae-fp16")]
    old = {
        "model": "stable diffusion", "model_weights": "sd-1.5", "model_hash": "cc6cb27103" + "0" * 54,
        "app_version": "2.3.5", "image": {"prompt": [{"prompt": "a mill [rain, fog] at [", "weight": 1}], "steps": 50,
        "cfg_scale": 7.5, "seed": 3, "width": 512, "height": 512, "sampler": "k_lms", "type": "txt2img"},
    }  # fmt: skip
    found = recipe({"sd-metadata": old})
    assert (found.prompt, found.negative_prompt, found.sampler) == ("a mill at [", "rain, fog", "k_lms")
    found = recipe(Dream='"a mill -s at dawn" -s 50 -S 42 -W512 -H640 -C 7.5 -A k_euler_a')
    assert (found.prompt, found.steps, found.seed, found.width) == ("a mill -s at dawn", 50, 42, 512)
    assert (found.height, found.guidance, found.sampler) == (640, 7.5, "k_euler_a")


def test_novelai(recipe: Read) -> None:
    said = {
        "prompt": "a mill", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "uc": "lowres", "seed": 9,
        "sampler": "k_euler_ancestral", "noise_schedule": "karras", "cfg_rescale": 0.2, "signed_hash": "x",
        "v4_prompt": {"caption": {"base_caption": "a mill", "char_captions": [{"char_caption": "girl, hat"}]}},
    }  # fmt: skip
    texts = {"Comment": said, "Software": "NovelAI", "Source": "NovelAI Diffusion V4 4F49EC75", "Description": "a mill"}
    found = recipe(texts)
    assert (found.tool, found.prompt, found.negative_prompt) == ("NovelAI", "a mill", "lowres")
    assert (found.base.name, found.base.hashes) == ("NovelAI Diffusion V4", ("4f49ec75",))
    assert [(one.name, one.value) for one in found.extras] == [
        ("prompts of single characters", "girl, hat"),
        ("cfg_rescale", "0.2"),
    ]
    webp = {"Comment": json.dumps(said), "Software": "NovelAI", "Source": "x"}
    assert recipe(parameters=webp).seed == 9


def test_swarmui(recipe: Read) -> None:
    said = {
        "sui_image_params": {
            "prompt": "a mill <lora:ink:0.6>", "negativeprompt": "rain", "model": "Official/sd_xl_base_1.0",
            "seed": 4, "steps": 20, "cfgscale": 7.0, "width": 1024, "height": 1024, "sampler": "euler",
            "scheduler": "karras", "loras": ["styles/ink", "detail"], "loraweights": ["0.6", "-1"],
            "clipstopatlayer": "-2", "swarm_version": "0.9.6", "refinerupscale": 1.5,
        },
        "sui_models": [{"name": "styles/ink.safetensors", "param": "loras", "hash": "0x" + "0a" * 32}],
    }  # fmt: skip
    found = recipe(parameters=said)
    assert (found.tool, found.prompt, found.base.name, found.clip_skip) == ("SwarmUI", "a mill", "sd_xl_base_1.0", 2)
    assert [(one.name, one.weight, one.hashes) for one in found.experts] == [
        ("styles/ink", 0.6, ("0a" * 32,)),
        ("detail", -1.0, ()),
    ]
    assert [one.name for one in found.extras] == ["refinerupscale"]


def test_our_own_plan_is_taken_whole_and_an_edit_is_said(recipe: Read) -> None:
    expert = PlanExpert(id="world/ink", ref="r", sha256="ab" * 32, weight=0.8)
    plan = MergePlan(
        base=PlanBase(ref="folder:b", family="f", sha256="cd" * 32), experts=(expert,), prompt="x", seeds=(3, 4)
    )
    record = {"plan": plan.model_dump(mode="json"), "plan_id": plan.plan_id, "seed": 4, "diffgraph": "0.1.0"}
    found = recipe(diffgraph=record, parameters="x <lora:ink:0.8>\nSteps: 16, Seed: 4")
    assert (found.plan, found.seed, found.notes) == (plan, 4, ())
    assert [(one.name, one.hashes) for one in found.experts] == [("world/ink", ("ab" * 32,))]
    edited = recipe(diffgraph=record | {"plan_id": "0" * 64})
    assert edited.notes == ("the plan in it does not fit its own hash: someone edited it",)
