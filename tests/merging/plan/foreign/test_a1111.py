"""``parameters`` as A1111, Forge, SD.Next and Civitai write it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diffgraph.merging.plan.foreign.a1111 import recipe_of
from diffgraph.merging.plan.foreign.prompt_tags import without_tags
from diffgraph.merging.plan.foreign.settings_text import pairs

A1111 = """a lighthouse at dusk, (oil painting:1.2), BREAK
rough sea <lora:add_detail:0.6> <lora:style/Ink Wash v2:0.8:0.4>
Negative prompt: EasyNegative, (worst quality:1.4),
lowres
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 3819204711, Size: 512x768, Model hash: cc6cb27103, \
Model: v1-5-pruned-emaonly, VAE hash: 735e4c3a44, VAE: vae-ft-mse-840000.safetensors, Denoising strength: 0.35, \
Clip skip: 2, Hires upscale: 2, Hires steps: 12, Hires upscaler: R-ESRGAN 4x+, \
Lora hashes: "add_detail: 7c6bad76eb54, Ink Wash v2: 0123456789ab", TI hashes: "EasyNegative: c74b4e810b03", \
Template: "a {lighthouse|mill}, one: two", Version: v1.10.1"""

FORGE = """a red fox <lora:flux-realism:0.9>
Steps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 7, Size: 896x1152, \
Model hash: 4610115bb0, Model: flux1-dev, Lora hashes: "flux-realism: 94e2f4a0b1c5", Module 1: ae, Module 2: clip_l, \
Version: f2.0.1v1.10.1-previous-664"""


def test_everything_a1111_says_has_its_field() -> None:
    found = recipe_of(A1111)
    assert found is not None
    assert (found.tool, found.tool_version) == ("A1111", "v1.10.1")
    assert found.prompt == "a lighthouse at dusk, (oil painting:1.2), BREAK\nrough sea"
    assert found.negative_prompt == "EasyNegative, (worst quality:1.4),\nlowres"
    assert (found.seed, found.steps, found.guidance, found.sampler) == (3819204711, 28, 6.5, "DPM++ 2M Karras")
    assert (found.width, found.height, found.clip_skip) == (512, 768, 2)
    assert (found.base.name, found.base.hashes) == ("v1-5-pruned-emaonly", ("cc6cb27103",))
    detail, ink, negative = found.experts
    assert (detail.name, detail.weight, detail.clip_weight, detail.hashes) == (
        "add_detail", 0.6, None, ("7c6bad76eb54",)
    )  # fmt: skip
    assert (ink.name, ink.weight, ink.clip_weight, ink.hashes) == ("style/Ink Wash v2", 0.4, 0.8, ("0123456789ab",))
    assert (negative.name, negative.kind, negative.hashes) == ("EasyNegative", "textual_inversion", ("c74b4e810b03",))
    assert (found.vae.name, found.vae.hashes) == ("vae-ft-mse-840000.safetensors", ("735e4c3a44",))
    said = {one.name: one.value for one in found.extras}
    assert said == {
        "Denoising strength": "0.35",
        "Hires upscale": "2",
        "Hires steps": "12",
        "Hires upscaler": "R-ESRGAN 4x+",
        "Template": "a {lighthouse|mill}, one: two",
    }


def test_forge_says_how_flux_is_guided() -> None:
    found = recipe_of(FORGE)
    assert found is not None
    assert (found.tool, found.guidance, found.distilled_guidance, found.scheduler) == ("Forge", 1.0, 3.5, "Simple")
    assert [(one.name, one.weight) for one in found.experts] == [("flux-realism", 0.9)]
    assert {one.name for one in found.extras} == {"Module 1", "Module 2"}


@pytest.mark.parametrize(
    ("tag", "denoiser", "encoders"),
    [
        ("<lora:x>", 1.0, None),
        ("<lora:x:0.7>", 0.7, None),
        ("<lora:x:0.7:0.5>", 0.5, 0.7),
        ("<lora:x:-1.5>", -1.5, None),
        ("<lora:x:te=0:unet=0.8>", 0.8, 0.0),
        ("<lora:x:0.5:dyn=4:lbw=ALL>", 0.5, None),
        ("<LYCO:x:.5>", 0.5, None),
        ("<lora:x:nan>", 1.0, None),
    ],
)
def test_a_tags_numbers_are_the_encoders_then_the_denoisers(tag: str, denoiser: float, encoders: float | None) -> None:
    prompt, (one,) = without_tags(f"a cat {tag} at night")
    assert prompt == "a cat at night"
    assert (one.name, one.weight, one.clip_weight) == ("x", denoiser, encoders)


def test_a_prompt_without_tags_stays_to_the_letter() -> None:
    prompt = "a  cat,, (hat:1.2)  [bow] <b>\n"
    assert without_tags(prompt) == (prompt, ())


def test_civitais_resources_are_experts_where_no_tag_names_them() -> None:
    listed: list[dict[str, Any]] = [
        {"type": "checkpoint", "modelVersionId": 290640, "modelName": "Pony Diffusion V6 XL", "modelVersionName": "V6"},
        {"type": "lora", "weight": 0.65, "modelVersionId": 712345, "modelName": "Ink & Wash"},
        {"type": "embed", "modelVersionId": 5, "modelName": "EasyNegative"},
        {"weight": 1.0, "air": "urn:air:sdxl:lora:civitai:1302719@1833157", "modelName": "By its AIR"},
        {"type": "vae", "modelVersionId": 9},
    ]
    text = f"""a mill
Negative prompt: blurry
Steps: 25, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 832x1216, Clip skip: 2, \
Created Date: 2025-11-28T09:18:43Z, Civitai resources: {json.dumps(listed)}, Civitai metadata: {{}}"""
    found = recipe_of(text)
    assert found is not None
    assert found.tool == "Civitai"
    assert (found.base.name, found.base.where) == ("Pony Diffusion V6 XL", "Civitai model version 290640")
    assert [(one.name, one.kind, one.weight, one.where) for one in found.experts] == [
        ("Ink & Wash", "lora", 0.65, "Civitai model version 712345"),
        ("EasyNegative", "textual_inversion", None, "Civitai model version 5"),
        ("By its AIR", "lora", 1.0, "Civitai model version 1833157"),
    ]
    assert found.extras == ()
    tagged = recipe_of(text.replace("a mill", "a mill <lora:ink_wash_final:0.65>"))
    assert tagged is not None
    assert [one.name for one in tagged.experts if one.kind == "lora"] == ["ink_wash_final"]


def test_texts_in_one_line_and_without_steps_in_front_are_read() -> None:
    found = recipe_of("fog, a car Negative prompt: Steps: 23, Sampler: Undefined, CFG scale: 3.5, Seed: 5, Size: 8x16")
    assert found is not None
    assert (found.prompt, found.negative_prompt, found.steps, found.height) == ("fog, a car", "", 23, 16)
    found = recipe_of("a fox\nNegative prompt: rain\nSeed: 5, Size: 8x16, Model: x, Steps: 9")
    assert found is not None
    assert (found.prompt, found.negative_prompt, found.steps, found.seed) == ("a fox", "rain", 9, 5)
    assert recipe_of("a letter to a friend:\nSteps, and then: home") is None
    found = recipe_of("Negative prompt: rain\nSteps: 9, Seed: 1")
    assert found is not None
    assert (found.prompt, found.negative_prompt) == ("", "rain")


def test_hash_trees_and_the_old_extension_are_read() -> None:
    tree = {"model": "31e35c80fc", "lora:ink": "e14d2f4f3c2d", "embed:neg": "aaaaaaaaaa", "vae": "1" * 10}
    found = recipe_of(
        f"a fox <lora:ink:1>\nSteps: 9, Model: sdxl, Hashes: {json.dumps(tree)}, AddNet Enabled: True, "
        "AddNet Module 1: LoRA, AddNet Model 1: old_one(0123456789ab), AddNet Weight A 1: 0.8, AddNet Weight B 1: 0.5"
    )
    assert found is not None
    assert found.base.hashes == ("31e35c80fc",)
    assert [(one.name, one.hashes, one.weight, one.clip_weight) for one in found.experts] == [
        ("ink", ("e14d2f4f3c2d",), 1.0, None),
        ("old_one", ("0123456789ab",), 0.8, 0.5),
        ("neg", ("aaaaaaaaaa",), None, None),
    ]


def test_the_hash_of_nothing_is_no_hash() -> None:
    found = recipe_of('a <lora:x:1>\nSteps: 9, Lora hashes: "x: e3b0c44298fc"')
    assert found is not None
    assert found.experts[0].hashes == ()


def test_values_that_only_look_like_json_are_text() -> None:
    assert pairs('A: [x, C: {"k": 1}, D: "a\\"b, c: d"') == {"A": "[x", "C": {"k": 1}, "D": 'a"b, c: d'}
    hostile = "A: [[[[" * 20_000 + ', B: "' * 20_000
    assert len(pairs(hostile)) <= 400
