"""Bases by name, by name:argument, by folder, and the default one; families and their neutral values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from diffgraph.bases import families, registry
from diffgraph.bases.profile import BaseProfile, Family
from diffgraph.errors import UserError


def pipeline(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def tiny_world(folder: Path) -> Path:
    pipeline(folder / "hub" / "emoji-base")
    (folder / "manifest.json").write_text('{"files": {}}')
    return folder


def test_a_named_base_takes_an_argument(tmp_path: Path) -> None:
    folder = tiny_world(tmp_path / "w")
    found = registry.chosen(f"world:{folder}")
    assert found.folder == folder / "hub" / "emoji-base"
    assert (found.ref, found.architecture, found.vocabulary) == ("world:emoji-base", "emoji", "closed")
    assert found.sources == (f"world:{folder}",)


def test_the_default_is_the_base_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_WORLD", str(tiny_world(tmp_path / "w")))
    assert registry.chosen(None) == registry.chosen("") == registry.chosen(registry.default_name())
    monkeypatch.setattr(registry, "_defaults", {"world", "another"})
    monkeypatch.setattr(registry, "names", lambda: ["another", "world"])
    with pytest.raises(UserError, match="DIFFGRAPH_BASE to one of another, world"):
        registry.default_name()


def test_no_default_says_what_to_set_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_defaults", set())
    monkeypatch.setattr(registry, "broken", lambda: {"left_out": "it is part of the repository"})
    with pytest.raises(UserError, match=r"DIFFGRAPH_BASE to a diffusers folder.*'left_out'.*part of the repository"):
        registry.default_name()


def test_a_folder_of_unknown_family_gets_generic_values_and_says_so(tmp_path: Path) -> None:
    found = registry.chosen(str(pipeline(tmp_path / "somebodys-mix")))
    assert found.family == families.GENERIC
    assert (found.ref, found.vocabulary, found.critic, found.sources) == ("folder:somebodys-mix", "open", "", ())
    assert "generic" in found.title


def test_a_folder_of_a_known_family_takes_its_values(tmp_path: Path) -> None:
    found = registry.chosen(str(pipeline(tmp_path / "stable-diffusion-xl-base-1.0")))
    assert (found.family, found.architecture) == ("sdxl", "sdxl")
    assert found.sizes[0].width == 1024
    assert found.steps == families.get("sdxl").steps


@pytest.mark.parametrize(("width", "family"), [(768, "sd15"), (2048, "sdxl")])
def test_the_architecture_is_read_off_the_weights_whatever_the_folder_is_called(
    tmp_path: Path, width: int, family: str
) -> None:
    folder = pipeline(tmp_path / "flux-like-dream_8")
    weights = {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": np.zeros((4, width), np.float16)}
    (folder / "unet").mkdir()
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    found = registry.chosen(str(folder))
    assert (found.architecture, found.family) == (family, family)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="is damaged"):
        registry.chosen(str(folder))


def test_a_folder_without_a_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_index\.json is missing.*world"):
        registry.chosen(str(tmp_path / "nowhere"))


def test_every_family_is_chosen_by_its_architecture_and_ecosystem() -> None:
    for data in families.families().values():
        assert families.family_for(data.architecture, data.ecosystem) == data
    assert families.family_for("sdxl", "nobody knows").name == "sdxl"
    assert families.family_for("never heard of").name == families.GENERIC
    with pytest.raises(ValueError, match="two base familys"):
        families.family(Family(name="sdxl", steps=3))


def test_neutral_values_are_nobodys_own(tmp_path: Path) -> None:
    neutral = families.get(families.GENERIC)
    own = registry.chosen(f"world:{tiny_world(tmp_path / 'w')}")
    assert not {neutral.steps, neutral.guidance, neutral.composed_guidance} & {
        own.steps,
        own.guidance,
        own.composed_guidance,
    }
    assert neutral.sizes == ()


def test_a_profile_is_frozen_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    found = BaseProfile(name="x", where=str(tmp_path), ref="folder:x", guidance=2.0, composed_guidance=3.0)
    assert [found.guidance_for(n) for n in (0, 1, 2)] == [2.0, 2.0, 3.0]
    assert found.model_copy(update={"composed_guidance": None}).guidance_for(2) == 2.0
    with pytest.raises(ValidationError):
        found.steps = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="stepps"):
        BaseProfile(name="x", where=str(tmp_path), ref="folder:x", stepps=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="a source is a name"):
        BaseProfile(name="x", where=str(tmp_path), ref="folder:x", sources=(":y",))
