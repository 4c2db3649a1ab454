"""A VAE of one's own is pinned by content, and an absent or another one is named before anything is loaded."""

from __future__ import annotations

import shutil

import pytest

from diffgraph.errors import PlanError, UserError
from diffgraph.merging.plan.check import check
from diffgraph.merging.plan.vae import located_vae, pin_vae


def test_a_file_and_a_folder_of_the_same_weights_are_the_same_vae(world, tmp_path):
    shutil.copytree(world.base_dir / "vae", tmp_path / "pipeline" / "vae")
    weights = shutil.copy(world.base_dir / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "mine.safetensors")
    pinned = [pin_vae(path) for path in (weights, tmp_path / "pipeline", tmp_path / "pipeline" / "vae")]
    assert len({vae.sha256 for vae in pinned}) == 1
    assert [str(located_vae(vae)) for vae in pinned] == [vae.ref for vae in pinned]


def test_what_is_no_vae_is_refused_by_a_sentence(world, tmp_path):
    (tmp_path / "old.pt").write_bytes(b"x")
    unet = world.base_dir / "unet" / "diffusion_pytorch_model.safetensors"
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for path, said in {
        tmp_path / "absent.safetensors": "there is no VAE at",
        tmp_path / "empty": "there is no VAE at",
        tmp_path / "old.pt": "only .safetensors files",
        tmp_path / "broken.safetensors": "no VAE that can be read",
        unet: "belongs to a decoder",
    }.items():
        with pytest.raises(UserError, match=said):
            pin_vae(path)


def test_the_check_of_a_plan_names_an_absent_or_another_vae(world, tmp_path):
    weights = tmp_path / "mine.safetensors"
    shutil.copy(world.base_dir / "vae" / "diffusion_pytorch_model.safetensors", weights)
    plan = world.plan(world.expert("owl"), vae=pin_vae(weights))
    assert check(plan, world.base, world.locate).ok
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    (problem,) = check(plan, world.base, world.locate).problems
    assert problem.fatal
    assert "is not the one in the plan" in problem.message
    weights.unlink()
    assert "there is no VAE at" in check(plan, world.base, world.locate).sentences()
    with pytest.raises(PlanError):
        located_vae(plan.vae)
