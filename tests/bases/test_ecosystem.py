"""Ecosystems are told by configurations, tensors, metadata, hashes and names; v-prediction is sampled as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffgraph.bases.ecosystem import (
    Ecosystem,
    Evidence,
    drawn_so,
    ecosystem_of,
    ecosystem_of_folder,
    scheduler_changes,
)
from diffgraph.bases.families import families, family_for
from diffgraph.bases.pipeline_config import PipelineConfig
from diffgraph.files.header import Header, TensorInfo


def told(architecture: str, *names: str, keys: tuple[str, ...] = (), **more: Any) -> Ecosystem:
    metadata = more.pop("metadata", {})
    header = Header(Path("x"), 0, {key: TensorInfo("F16", (0,), 0, 0) for key in keys}, metadata)
    config = PipelineConfig(more.pop("listing", {}), more.pop("denoiser", {}), more.pop("scheduler", {}))
    return ecosystem_of(
        Evidence(architecture, names, more.pop("hashes", ()), config, (header,) if keys or metadata else ())
    )


@pytest.mark.parametrize(
    ("architecture", "name", "ecosystem"),
    [
        ("sdxl", "ponyDiffusionV6XL_v6StartWithThisOne", "pony"), ("sdxl", "ponytail-girls-XL", ""),
        ("sdxl", "symphony_xl", ""), ("sdxl", "Illustrious-XL-v1.1", "illustrious"),
        ("sdxl", "waiIllustriousSDXL_v160", "illustrious"), ("sdxl", "NoobAI-XL-v1.1", "noobai"),
        ("sdxl", "noobaiXLNAIXL_vPred10Version", "noobai-v"), ("sdxl", "sdxl_lightning_4step", "lightning"),
        ("sdxl", "sd_xl_turbo_1.0_fp16", "turbo"), ("sdxl", "stabilityai/sdxl-turbo", "turbo"),
        ("sdxl", "DreamShaperXL_Turbo_v2_1", "turbo-merge"), ("sdxl", "Hyper-SDXL-8steps", "hyper"),
        ("sdxl", "hyper-realistic-xl", ""), ("sdxl", "juggernautXL_v9", ""), ("sdxl", "some_xl_vpred", "v"),
        ("sd15", "dreamshaper_8", ""), ("sd15", "DreamShaper8_LCM", "lcm"), ("sd21", "sd-turbo", "turbo"),
        ("sd21", "v2-1_768-ema-pruned", "v"), ("sd21", "v2-1_512-ema-pruned", ""),
        ("sd3", "sd3.5_large_turbo", "3.5-large-turbo"), ("sd3", "stable-diffusion-3.5-medium", "3.5-medium"),
        ("sd3", "stable-diffusion-3-medium", ""), ("flux1", "flux1-schnell", "schnell"),
        ("flux1", "FLUX.1-Kontext-dev", "kontext"), ("flux1", "flux1-krea-dev", "krea"), ("flux1", "FLUX.1-dev", ""),
        ("flux2", "FLUX.2-klein-4B", "klein"), ("flux2", "FLUX.2-klein-base-9B", "klein-base"),
        ("flux2", "FLUX.2-dev", ""),
        ("qwen_image", "Qwen-Image-Lightning-8steps-V1.0", "lightning"), ("z_image", "Z-Image-Turbo", "turbo"),
        ("hidream", "HiDream-I1-Fast", "fast"), ("hidream", "HiDream-I1-Full", ""),
        ("sana", "Sana_600M_512px_diffusers", "512"), ("sana", "Sana_Sprint_1.6B_1024px", "sprint"),
        ("auraflow", "pony-v7-base", "pony"), ("chroma", "Chroma1-Flash", "flash"), ("lumina2", "Lumina-Image-2.0", ""),
    ],
)  # fmt: skip
def test_names(architecture: str, name: str, ecosystem: str) -> None:
    assert told(architecture, name).name == ecosystem


def test_configurations_go_before_names() -> None:
    assert told("flux1", "my-flux-dev", denoiser={"guidance_embeds": False}).name == "schnell"
    assert told("flux2", "x", listing={"_class_name": "Flux2KleinPipeline", "is_distilled": True}).name == "klein"
    assert told("flux2", "x", listing={"_class_name": "Flux2KleinPipeline"}).name == "klein-base"
    assert told("sana", "x", denoiser={"sample_size": 16}).name == "512"
    assert told("sdxl", "x", scheduler={"_class_name": "EDMDPMSolverMultistepScheduler"}).name == "playground"
    assert told("z_image", "x", scheduler={"shift": 3.0}).name == "turbo"
    assert told("z_image", "x", scheduler={"shift": 6.0}).name == ""


def test_weights_metadata_and_hashes_tell_what_names_do_not() -> None:
    assert told("flux1", "x", keys=("double_blocks.0.img_attn.qkv.weight",)).name == "schnell"
    assert told("flux1", "x", keys=("double_blocks.0.img_attn.qkv.weight", "guidance_in.in_layer.weight")).name == ""
    assert told("sd3", "x", keys=("joint_blocks.0.x_block.attn2.qkv.weight",)).name == "3.5-medium"
    assert told("sdxl", "x", metadata={"modelspec.title": "Pony Diffusion V6 XL"}).name == "pony"
    assert told("sdxl", "x", metadata={"modelspec.merged_from": "noobaiXL, other"}).name == "noobai"
    assert told("sdxl", "x", hashes=("67ab2fd8ec",)).name == "pony"
    assert told("sdxl", "x", hashes=("ea349eeae87ca8d25ba902c93810f7ca83e5c82f920edf12f273af004ae02819",)) == told(
        "sdxl", "x", hashes=("EA349EEAE8",)
    )
    assert told("sdxl", "x", hashes=("67ab",)).name == ""


def test_empty_tensors_of_noobai_say_what_is_predicted() -> None:
    both = told("sdxl", "noobai", keys=("v_pred", "ztsnr"))
    assert (both.name, both.prediction, both.zero_terminal_snr) == ("noobai-v", "v_prediction", True)
    one = told("sdxl", "x", keys=("v_pred",))
    assert (one.name, one.prediction, one.zero_terminal_snr) == ("v", "v_prediction", False)
    assert told("sdxl", "x", metadata={"modelspec.prediction_type": "v"}).prediction == "v_prediction"
    assert told("sdxl", "x", metadata={"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}).name == "v"
    assert told("sdxl", "x", scheduler={"prediction_type": "epsilon"}).prediction == "epsilon"
    assert told("flux1", "x").prediction == "flow"


def test_the_number_of_steps_is_taken_from_the_name_of_a_distilled_model() -> None:
    found = told("sdxl", "sdxl_lightning_8step_unet")
    assert found.steps == 8
    assert drawn_so(family_for("sdxl", "lightning"), found)["steps"] == 8
    assert told("sdxl", "trained-100-steps-pony").steps == 0


def test_schedulers_are_changed_only_where_they_would_sample_wrongly() -> None:
    noob = told("sdxl", "noobai-vpred-1.0")
    family = family_for("sdxl", noob.name)
    pndm = {"_class_name": "PNDMScheduler", "prediction_type": "epsilon"}
    assert scheduler_changes(pndm, noob, family) == {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "_class_name": "EulerDiscreteScheduler",
    }
    right = {"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    assert scheduler_changes(right, noob, family) == {}
    for name, plain in families().items():
        if plain.prediction == "epsilon":
            assert scheduler_changes(pndm, Ecosystem(), plain) == {}, name
    flow = told("flux1", "x")
    assert scheduler_changes({"_class_name": "FlowMatchEulerDiscreteScheduler"}, flow, family_for("flux1")) == {}


def test_a_converted_folder_says_what_its_file_was(tmp_path: Path) -> None:
    (tmp_path / "single_file.json").write_text(
        json.dumps({"name": "checkpoint.safetensors", "metadata": {"modelspec.title": "Illustrious XL", "x": 3}})
    )
    assert ecosystem_of_folder(tmp_path, "sdxl").name == "illustrious"
    (tmp_path / "single_file.json").write_text("[]")
    assert ecosystem_of_folder(tmp_path, "sdxl", names=("x",)).name == ""
    assert ecosystem_of_folder(tmp_path / "nowhere", "sdxl", names=("pony",)).name == "pony"
