"""Each family's values are sane, and are those that its real pipeline takes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from diffgraph.bases.ecosystem import FLOWS
from diffgraph.bases.families import families, family_for
from diffgraph.bases.registry import of_folder
from diffgraph.merging.plan.samplers import OwnScheduler, problem

PIPELINES = {
    "auraflow": "AuraFlowPipeline", "chroma": "ChromaPipeline", "flux1": "FluxPipeline", "flux2": "Flux2Pipeline",
    "hidream": "HiDreamImagePipeline", "kolors": "KolorsPipeline", "lumina2": "Lumina2Pipeline",
    "qwen_image": "QwenImagePipeline", "sana": "SanaPipeline", "sd15": "StableDiffusionPipeline",
    "sd21": "StableDiffusionPipeline", "sd3": "StableDiffusion3Pipeline", "sdxl": "StableDiffusionXLPipeline",
    "z_image": "ZImagePipeline",
}  # fmt: skip
MULTIPLES = {"sd15": 8, "sd21": 8, "sdxl": 8, "kolors": 8, "sana": 32}
PICO = {"flux2_klein": "flux2", "qwen": "qwen_image"}
NAMED = [name for name, family in families().items() if family.architecture]
FLOW = OwnScheduler("FlowMatchEulerDiscreteScheduler", "flow")
NOISE = OwnScheduler("PNDMScheduler", "noise")


def parameters(name: str) -> Any:
    import diffusers

    pipeline = getattr(diffusers, PIPELINES[families()[name].architecture])
    if inspect.signature(pipeline.__init__).parameters.keys() <= {"self", "args", "kwargs"}:
        pytest.skip(f"diffusers' {pipeline.__name__} wants a library that is not installed")
    return inspect.signature(pipeline.__call__).parameters


@pytest.mark.parametrize("name", NAMED)
def test_values_are_sane(name: str) -> None:
    family = families()[name]
    assert family_for(family.architecture, family.ecosystem) is family
    multiple = MULTIPLES.get(family.architecture, 16)
    assert family.sizes
    assert all(size.width % multiple == 0 == size.height % multiple for size in family.sizes)
    areas = [size.width * size.height for size in family.sizes]
    assert max(areas) < 2.4 * min(areas)
    assert family.prompt_limit is not None
    assert (family.prediction == "flow") <= (family.architecture in FLOWS)
    assert not problem(family.sampler, FLOW if family.architecture in FLOWS else NOISE)
    if family.guidance_kind == "none":
        assert family.steps < 30
        assert not family.negative_prompt
        assert family.guidance <= 1 or family.architecture == "hidream"
    if family.guidance_kind == "distilled":
        assert not family.negative_prompt
    if family.negative_prompt:
        assert family.guidance > 1
        assert family.guidance_kind == "cfg"


@pytest.mark.parametrize("name", NAMED)
def test_what_a_family_says_is_what_its_pipeline_takes(name: str) -> None:
    family, takes = families()[name], parameters(name)
    if family.guidance_kind == "cfg" and family.architecture != "flux2":
        assert "negative_prompt" in takes
        assert takes["guidance_scale"].default is None or "true_cfg_scale" not in takes
    if family.guidance_kind == "distilled" and family.architecture != "sana":
        assert "guidance_scale" in takes
        assert "negative_prompt" not in takes or "true_cfg_scale" in takes
    if (limit := takes.get("max_sequence_length")) is not None:
        assert family.prompt_limit is not None
        assert family.prompt_limit <= limit.default
    else:
        assert family.prompt_limit == 77


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux1", "flux2", "qwen_image", "chroma", "hidream", "sana"])
def test_plain_releases_are_drawn_as_their_pipeline_is_by_default(family: str) -> None:
    takes = parameters(family)
    asked = takes["true_cfg_scale" if family == "qwen_image" else "guidance_scale"].default
    told = families()[family].guidance
    assert abs(told - asked) <= 2.0  # a model card may say otherwise, but not by far


@pytest.mark.parametrize(
    "name",
    ["sd15", "sd21", "sdxl", "sd3", "flux1", "flux2", "flux2_klein", "qwen", "z_image", "chroma", "auraflow",
     "lumina2", "sana", "hidream"],
)  # fmt: skip
def test_a_folder_is_known_by_its_classes_whatever_it_is_called(pico, tmp_path, name: str) -> None:
    link = tmp_path / "my model"
    link.symlink_to(pico(name).base, target_is_directory=True)
    profile = of_folder(link)
    assert profile.architecture == PICO.get(name, name)
    assert profile.prediction in ("flow", "epsilon", "v_prediction")
    if name == "flux2_klein":
        assert (profile.ecosystem, profile.guidance_kind) == ("klein", "none")
    if name == "sd21":
        assert (profile.family, profile.prediction) == ("sd21_v", "v_prediction")
