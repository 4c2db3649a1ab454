"""ComfyUI's graphs: its own nodes, FLUX's, widely used ones of third parties, and graphs that are no graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from diffgraph.merging.plan.foreign.recipe import ForeignRecipe

Read = Callable[..., ForeignRecipe]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def plain(**more: dict[str, Any]) -> dict[str, Any]:
    """The graph that ComfyUI opens with, and two LoRAs in a chain."""
    graph = {
        "3": node(
            "KSampler", seed=156680208700286, steps=20, cfg=8.0, sampler_name="euler_ancestral", scheduler="karras",
            denoise=1.0, model=["11", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="SDXL\\sd_xl_base_1.0.safetensors"),
        "5": node("EmptyLatentImage", width=1024, height=768, batch_size=1),
        "6": node("CLIPTextEncode", text="a glass bottle, embedding:shiny", clip=["12", 0]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["12", 0]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
        "10": node("LoraLoader", lora_name="ink.safetensors", strength_model=0.8, strength_clip=0.6, model=["4", 0],
                   clip=["4", 1]),
        "11": node("LoraLoaderModelOnly", lora_name="sub/detail.safetensors", strength_model=0.5, model=["10", 0]),
        "12": node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["10", 1]),
    }  # fmt: skip
    return {**graph, **more}


def test_the_usual_graph(recipe: Read) -> None:
    found = recipe(prompt=plain())
    assert found.tool == "ComfyUI"
    assert (found.prompt, found.negative_prompt) == ("a glass bottle, embedding:shiny", "text, watermark")
    assert (found.seed, found.steps, found.guidance) == (156680208700286, 20, 8.0)
    assert (found.sampler, found.scheduler, found.clip_skip) == ("euler_ancestral", "karras", 2)
    assert (found.width, found.height, found.base.name) == (1024, 768, "sd_xl_base_1.0")
    assert [(one.name, one.kind, one.weight, one.clip_weight) for one in found.experts] == [
        ("ink.safetensors", "lora", 0.8, 0.6),
        ("sub/detail.safetensors", "lora", 0.5, 0.0),
        ("shiny", "textual_inversion", None, None),
    ]
    assert (found.extras, found.notes) == ((), ())


def test_flux_in_parts(recipe: Read) -> None:
    found = recipe(
        prompt={
            "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
            "2": node("DualCLIPLoader", clip_name1="t5xxl_fp16.safetensors", clip_name2="clip_l.safetensors"),
            "3": node("LoraLoaderModelOnly", lora_name="realism.safetensors", strength_model=0.9, model=["1", 0]),
            "4": node("ModelSamplingFlux", max_shift=1.15, width=["13", 0], height=1152, model=["3", 0]),
            "5": node("CLIPTextEncodeFlux", clip_l="a fox", t5xxl="a fox in deep snow at dawn", guidance=3.5,
                      clip=["2", 0]),
            "6": node("BasicGuider", model=["4", 0], conditioning=["14", 0]),
            "7": node("RandomNoise", noise_seed=18446744073709551615),
            "8": node("KSamplerSelect", sampler_name="euler"),
            "9": node("BasicScheduler", scheduler="simple", steps=["15", 0], denoise=1, model=["4", 0]),
            "10": node("EmptySD3LatentImage", width=["13", 0], height=1152, batch_size=1),
            "11": node("SamplerCustomAdvanced", noise=["7", 0], guider=["6", 0], sampler=["8", 0], sigmas=["9", 0],
                       latent_image=["10", 0]),
            "12": node("SaveImage", images=["16", 0]),
            "13": node("PrimitiveInt", value=896),
            "14": node("FluxGuidance", guidance=4.0, conditioning=["5", 0]),
            "15": node("easy int", value=24),
            "16": node("VAEDecode", samples=["11", 0], vae=["17", 0]),
            "17": node("VAELoader", vae_name="ae.safetensors"),
        }
    )  # fmt: skip
    assert found.prompt == "a fox in deep snow at dawn"
    assert (found.negative_prompt, found.guidance, found.distilled_guidance) == ("", None, 4.0)
    assert (found.seed, found.steps, found.sampler, found.scheduler) == (2**64 - 1, 24, "euler", "simple")
    assert (found.width, found.height, found.base.name) == (896, 1152, "flux1-dev")
    assert [(one.name, one.weight) for one in found.experts] == [("realism.safetensors", 0.9)]
    assert {(one.name, one.value) for one in found.extras} == {
        ("prompt of another text encoder", "a fox"),
        ("changes the model", "ModelSamplingFlux"),
    }


STACKS = {
    "Power Lora Loader (rgthree)": (
        {
            "PowerLoraLoaderHeaderWidget": {"type": "PowerLoraLoaderHeaderWidget"},
            "lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.8, "strengthTwo": None},
            "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1.0},
            "lora_3": {"on": True, "lora": "c.safetensors", "strength": 1.2, "strengthTwo": 0.5},
            "➕ Add Lora": "",
        },
        [("a.safetensors", 0.8, None), ("c.safetensors", 1.2, 0.5)],
    ),
    "Lora Loader (LoraManager)": (
        {
            "text": "<lora:a:0.5> <lora:gone:1>",
            "loras": {
                "__value__": [
                    {"name": "a", "strength": "0.50", "clipStrength": "0.50", "active": True},
                    {"name": "gone", "strength": 1, "active": False},
                ]
            },
        },
        [("a", 0.5, None)],
    ),
    "LoraTagLoader": ({"text": "<lora:a:0.5> <lora:b:1>"}, [("a", 0.5, None), ("b", 1.0, None)]),
    "Lora Loader Stack (rgthree)": (
        {"lora_01": "a.safetensors", "strength_01": 0.3, "lora_02": "None", "strength_02": 1},
        [("a.safetensors", 0.3, None)],
    ),
    "easy loraStack": (
        {
            "toggle": True, "mode": "simple", "num_loras": 1, "lora_1_name": "a.safetensors", "lora_1_strength": 0.4,
            "lora_1_model_strength": 1.0, "lora_1_clip_strength": 1.0, "lora_2_name": "b.safetensors",
        },
        [("a.safetensors", 0.4, None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STACKS)
def test_loaders_of_third_parties(recipe: Read, kind: str) -> None:
    inputs, wanted = STACKS[kind]
    loader = node(kind, model=["4", 0], clip=["4", 1], **inputs)
    graph = plain()
    graph["3"]["inputs"]["model"] = ["20", 0]
    found = recipe(prompt={**graph, "20": loader})
    loras = [(one.name, one.weight, one.clip_weight) for one in found.experts if one.kind == "lora"]
    assert loras == wanted
    assert found.base.name == "sd_xl_base_1.0"


def test_the_efficient_loader_with_two_sorts_of_stacks(recipe: Read) -> None:
    found = recipe(
        prompt={
            "1": node(
                "Efficient Loader", ckpt_name="dream.safetensors", vae_name="Baked VAE", clip_skip=-2,
                lora_name="own.safetensors", lora_model_strength=0.7, lora_clip_strength=0.7, positive="a mill",
                negative=["5", 0], empty_latent_width=512, empty_latent_height=640, lora_stack=["2", 0],
            ),
            "2": node(
                "LoRA Stacker", input_mode="advanced", lora_count=2, lora_name_1="one.safetensors", lora_wt_1=1.0,
                model_str_1=0.25, clip_str_1=0.75, lora_name_2="None", lora_name_3="beyond.safetensors",
                lora_stack=["3", 0],
            ),
            "3": node(
                "CR LoRA Stack", switch_1="On", lora_name_1="two.safetensors", model_weight_1=0.4, clip_weight_1=0.4,
                switch_2="Off", lora_name_2="off.safetensors", model_weight_2=1, clip_weight_2=1,
            ),
            "4": node(
                "KSampler (Efficient)", seed=["6", 0], steps=30, cfg=7, sampler_name="dpmpp_2m", scheduler="karras",
                denoise=1, model=["1", 0], positive=["1", 1], negative=["1", 2], latent_image=["1", 3],
            ),
            "5": node("Text Concatenate", delimiter=", ", text_a="blurry", text_b=["7", 0]),
            "6": node("Seed (rgthree)", seed=99),
            "7": node("ShowText|pysssss", text=["8", 0], text_0="old"),
            "8": node("String Literal", string="rain,"),
        }
    )  # fmt: skip
    assert (found.prompt, found.negative_prompt) == ("a mill", "blurry, rain")
    assert (found.seed, found.width, found.height, found.clip_skip) == (99, 512, 640, 2)
    assert sorted((one.name, one.weight, one.clip_weight) for one in found.experts) == [
        ("one.safetensors", 0.25, 0.75),
        ("own.safetensors", 0.7, None),
        ("two.safetensors", 0.4, None),
    ]


def test_of_two_passes_the_first_is_read_and_the_second_named(recipe: Read) -> None:
    graph = plain()
    graph["13"] = node("LatentUpscaleBy", samples=["3", 0], scale_by=1.5)
    graph["2"] = node(
        "KSampler", seed=1, steps=9, cfg=3, sampler_name="heun", scheduler="normal", denoise=0.4,
        model=["11", 0], positive=["6", 0], negative=["7", 0], latent_image=["13", 0],
    )  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["2", 0]
    found = recipe(prompt=graph)
    assert (found.steps, found.width) == (20, 1024)
    assert [(one.name, one.value) for one in found.extras] == [("further sampling pass", "KSampler")]


def test_control_images_and_zeroed_prompts_are_followed_by_polarity(recipe: Read) -> None:
    graph = plain()
    graph["20"] = node(
        "ControlNetApplyAdvanced", positive=["6", 0], negative=["21", 0], control_net=["22", 0], strength=1
    )
    graph["21"] = node("ConditioningZeroOut", conditioning=["6", 0])
    graph["22"] = node("ControlNetLoader", control_net_name="canny.safetensors")
    graph["23"] = node("IPAdapterUnifiedLoader", preset="PLUS", model=["11", 0])
    graph["3"]["inputs"] |= {"positive": ["20", 0], "negative": ["20", 1], "model": ["23", 0]}
    found = recipe(prompt=graph)
    assert (found.prompt, found.negative_prompt) == ("a glass bottle, embedding:shiny", "")
    assert {(one.name, one.value) for one in found.extras} == {
        ("ControlNet", "canny.safetensors"),
        ("changes the model", "IPAdapterUnifiedLoader"),
    }


def test_civitais_own_generator_says_more_beside_the_graph(recipe: Read) -> None:
    graph: dict[str, Any] = plain()
    graph["10"]["inputs"]["lora_name"] = "urn:air:sdxl:lora:civitai:111@222"
    del graph["11"], graph["12"]
    graph["3"]["inputs"]["model"] = ["10", 0]
    graph["extraMetadata"] = '{"prompt": "x", "resources": [{"modelVersionId": 222, "strength": 0.8}]}'
    graph["extra"] = {"airs": ["urn:air:sdxl:lora:civitai:111@222"]}
    found = recipe(prompt=graph)
    assert found.experts[0].where == "Civitai model version 222"
    assert found.prompt.startswith("a glass bottle")


def test_the_text_of_a_saving_node_completes_the_graph(recipe: Read) -> None:
    text = (
        "other\nSteps: 20, Seed: 1, Model hash: 31e35c80fc, Model: sd_xl_base_1.0, "
        'Lora hashes: "ink: 0123456789ab, x: 1234567890"'
    )
    found = recipe(prompt=plain(), parameters=text)
    assert (found.tool, found.seed) == ("ComfyUI", 156680208700286)
    assert found.base.hashes == ("31e35c80fc",)
    assert found.experts[0].hashes == ("0123456789ab",)
    assert found.notes == ("only the A1111 text of the image names x: passed over",)


def test_cycles_dead_links_and_sums_do_no_harm(recipe: Read) -> None:
    graph = plain()
    graph["4"]["inputs"]["model"] = ["11", 0]
    graph["6"]["inputs"]["text"] = ["30", 0]
    graph["30"] = node("Concat", text_a=["31", 0], text_b="owl")
    graph["31"] = node("Concat", text_a=["30", 0], text_b=["nowhere", 0])
    graph["5"]["inputs"]["width"] = ["32", 0]
    graph["32"] = node("SimpleMath+", a=["33", 0], expression="a*2")
    graph["33"] = node("INTConstant", value=512)
    found = recipe(prompt=graph)
    assert found.prompt == "owl"
    assert found.width is None
    assert len(found.experts) == 2
