"""A single file becomes a folder with the very same weights; what it lacks comes from parts, or is named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.bases import known, registry
from diffgraph.bases.index import BaseIndex
from diffgraph.errors import UserError


def _helper(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"diffgraph_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


files = _helper("single_files")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no-cache"))


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = BaseIndex.open(one), BaseIndex.open(other)
    assert first.params.keys() == second.params.keys()
    for target in first.params:
        assert first.params[target][2].dtype == second.params[target][2].dtype, target
        assert torch.equal(first.tensor(target), second.tensor(target)), target


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_file_becomes_a_folder_with_the_same_weights(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    file = getattr(files, f"{kind}_file")(folder, tmp_path / "dream_8.safetensors")
    home = tmp_path / "home"
    found = registry.chosen(str(file), home, parts=str(folder))
    assert (found.kind, found.name, found.architecture) == ("file", "dream_8", kind)
    assert (found.origin, found.ref) == (str(file), "file:dream_8")
    assert_same_weights(found.folder, folder)
    assert found.folder.is_relative_to(home)
    entry = known.read(home).bases[0]
    assert (entry.from_parts, entry.parts) == ((), str(folder))


def test_a_file_is_converted_once_and_the_conversion_outlives_it(
    sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, home = files.sd15_file(sd15, tmp_path / "dream.safetensors"), tmp_path / "home"
    said: list[str] = []
    first = registry.chosen(str(file), home, parts=str(sd15), tell=said.append)
    assert any("converting dream.safetensors" in text for text in said)
    monkeypatch.setattr("diffgraph.bases.naming.assemble", lambda *a: pytest.fail("converted again"))
    assert registry.chosen(str(file), home) == registry.chosen("dream", home) == first
    file.unlink()
    assert registry.chosen("dream", home) == registry.chosen(str(file), home) == first
    registry.remove("dream", home)
    assert not first.folder.exists()


def test_a_file_that_changed_is_converted_anew(sd15: Path, tmp_path: Path) -> None:
    file, home = files.sd15_file(sd15, tmp_path / "dream.safetensors"), tmp_path / "home"
    first = registry.chosen(str(file), home, parts=str(sd15))
    key = "model.diffusion_model.time_embed.0.bias"
    files.sd15_file(sd15, file, {key: torch.ones(128, dtype=torch.float16)})
    second = registry.chosen(str(file), home, parts=str(sd15))
    assert second.key != first.key
    assert second.name == first.name
    assert BaseIndex.open(second.folder).tensor("unet.time_embedding.linear_1.bias").eq(1).all()


def test_parts_are_taken_from_a_known_base_or_from_beside_the_file(sd15: Path, sdxl: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = files.sd15_file(sd15, tmp_path / "alone" / "deep" / "dream.safetensors")
    with pytest.raises(UserError, match=r"\(sd15\) needs configs.*--parts .*base add"):
        registry.chosen(str(file), home)
    registry.add(str(sdxl), home)  # of another architecture: no parts for it
    with pytest.raises(UserError, match=r"\(sd15\) needs configs"):
        registry.chosen(str(file), home)
    registry.add(str(sd15), home)
    assert registry.chosen(str(file), home).architecture == "sd15"
    beside = files.sdxl_file(sdxl, sdxl.parent / "mix.safetensors")
    try:
        assert registry.chosen(str(beside), tmp_path / "another home").architecture == "sdxl"
    finally:
        beside.unlink()


def test_parts_that_do_not_fit_are_told(sd15: Path, sdxl: Path, tmp_path: Path) -> None:
    file = files.sdxl_file(sdxl, tmp_path / "mix.safetensors")
    with pytest.raises(
        UserError, match=r"cannot be read with the parts in .*tiny-sd15.*parts of the same architecture"
    ):
        registry.chosen(str(file), tmp_path / "home", parts=str(sd15))
    assert not list((tmp_path / "home").glob("bases/*"))
    assert known.read(tmp_path / "home").bases == ()


def test_what_a_file_lacks_comes_from_the_parts_or_is_named(sd15: Path, tmp_path: Path) -> None:
    weights = files.as_ldm_unet(files.component(sd15 / "unet"))
    save_file(weights, tmp_path / "unet-only.safetensors")
    home = tmp_path / "home"
    found = registry.chosen(str(tmp_path / "unet-only.safetensors"), home, parts=str(sd15))
    assert known.read(home).bases[0].from_parts == ("vae", "text_encoder")
    assert_same_weights(found.folder, sd15)
    configs = tmp_path / "configs"
    for path in sd15.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            (configs / path.relative_to(sd15)).parent.mkdir(parents=True, exist_ok=True)
            (configs / path.relative_to(sd15)).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"has no vae and no text_encoder, and neither has the file"):
        registry.chosen(str(tmp_path / "unet-only.safetensors"), tmp_path / "second", parts=str(configs))
    whole = files.sd15_file(sd15, tmp_path / "whole.safetensors")
    assert_same_weights(registry.chosen(str(whole), home, parts=str(configs)).folder, sd15)


def test_a_denoiser_under_diffusers_own_names_is_read_too(sd15: Path, tmp_path: Path) -> None:
    save_file(files.component(sd15 / "unet"), tmp_path / "unet.safetensors")
    found = registry.chosen(str(tmp_path / "unet.safetensors"), tmp_path / "home", parts=str(sd15))
    assert_same_weights(found.folder, sd15)


def test_markers_of_v_prediction_reach_the_scheduler(sd15: Path, tmp_path: Path) -> None:
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    file = files.sd15_file(sd15, tmp_path / "noob.safetensors", marks, **{"modelspec.architecture": "x", "other": "y"})
    found = registry.chosen(str(file), tmp_path / "home", parts=str(sd15))
    config = json.loads((found.folder / "scheduler" / "scheduler_config.json").read_text())
    assert (config["prediction_type"], config["rescale_betas_zero_snr"]) == ("v_prediction", True)
    said = json.loads((found.folder / "single_file.json").read_text())
    assert said == {"name": "noob.safetensors", "metadata": {"modelspec.architecture": "x"}}


def test_what_is_no_base_is_refused_by_what_it_is(sd15: Path, tmp_path: Path) -> None:
    lora = {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(4, 8)}
    vae = files.as_ldm_vae(files.component(sd15 / "vae"))
    unet = files.as_ldm_unet(files.component(sd15 / "unet"))
    name = "model.diffusion_model.time_embed.0.weight"
    scaled = unet | {name: unet[name].to(torch.float8_e4m3fn)}
    scaled[name.replace(".weight", ".scale_weight")] = torch.ones(())
    for weights, says in ((lora, "adapter"), (vae, "no unet and no transformer"), (scaled, "scaled fp8")):
        save_file(weights, tmp_path / "x.safetensors")
        with pytest.raises(UserError, match=says):
            registry.chosen(str(tmp_path / "x.safetensors"), tmp_path / "home", parts=str(sd15))
    (tmp_path / "x.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="cannot be a base"):
        registry.chosen(str(tmp_path / "x.safetensors"), tmp_path / "home")
    lacking = {key: w for key, w in unet.items() if "input_blocks.0" not in key}
    save_file(lacking, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"the file lacks weights that a StableDiffusionPipeline"):
        registry.chosen(str(tmp_path / "x.safetensors"), tmp_path / "home", parts=str(sd15))


def test_a_transformer_alone_takes_its_encoders_and_vae_from_the_parts(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, FluxTransformer2DModel

    torch.manual_seed(2)
    parts = tmp_path / "tiny-flux"
    FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=4,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    ).bfloat16().save_pretrained(parts / "transformer")  # fmt: skip
    AutoencoderKL(block_out_channels=(32,), latent_channels=4).save_pretrained(parts / "vae")
    listing = {"transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]}
    (parts / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", **listing}))
    for prefix in ("", "model.diffusion_model.", "diffusion_model."):
        file = files.flux_file(parts, tmp_path / f"flux{len(prefix)}.safetensors", prefix=prefix)
        home = tmp_path / f"home{len(prefix)}"
        found = registry.chosen(str(file), home, parts=str(parts))
        assert (found.architecture, known.read(home).bases[0].from_parts) == ("flux1", ("vae",))
        assert_same_weights(found.folder, parts)
