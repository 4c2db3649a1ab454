"""A plan's own VAE decodes its images, and the base is as it was afterwards."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from diffgraph.errors import PlanError
from diffgraph.merging.plan.vae import pin_vae
from diffgraph.merging.sampling.pipeline import render
from diffgraph.merging.sampling.png_record import pixels_sha256, save_png
from diffgraph.merging.sampling.replay import replay


def in_original_layout(state, blocks=2):
    """A VAE's weights under the names of the model's first release."""
    out = {}
    for name, value in state.items():
        key = re.sub(r"\.mid_block\.resnets\.(\d)", lambda m: f".mid.block_{int(m[1]) + 1}", name)
        key = key.replace(".mid_block.attentions.0.group_norm", ".mid.attn_1.norm")
        key = re.sub(r"\.mid_block\.attentions\.0\.to_([qkv])", r".mid.attn_1.\1", key)
        key = key.replace(".mid_block.attentions.0.to_out.0", ".mid.attn_1.proj_out")
        key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", key)
        key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
        key = re.sub(
            r"decoder\.up_blocks\.(\d)\.resnets\.(\d)",
            lambda m: f"decoder.up.{blocks - 1 - int(m[1])}.block.{m[2]}",
            key,
        )
        key = re.sub(
            r"decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda m: f"decoder.up.{blocks - 1 - int(m[1])}.upsample", key
        )
        key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        linear = ".mid.attn_1." in key and value.ndim == 2
        out[key] = (value[:, :, None, None] if linear else value).contiguous()
    return out


@pytest.fixture(scope="module")
def other(base_dir, tmp_path_factory):
    """Another VAE of the base's shape: as a folder, as a file in diffusers' names, as one in the original names."""
    root = tmp_path_factory.mktemp("vae")
    torch.manual_seed(77)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(base_dir / "vae"))
    vae.save_pretrained(root / "folder")
    save_file(in_original_layout(vae.state_dict()), root / "original.safetensors")
    return {
        "folder": root / "folder",
        "file": root / "folder" / "diffusion_pytorch_model.safetensors",
        "original": root / "original.safetensors",
    }


def drawn(engine, plan, world):
    return np.asarray(render(engine, plan, world.locate)[0])


def test_whichever_way_it_is_stored_it_decodes_and_the_base_is_unchanged(world, engine, other):
    before, mark = drawn(engine, world.plan(), world), engine.fingerprint()
    own = engine.pipe.vae
    made = {form: drawn(engine, world.plan(vae=pin_vae(path)), world) for form, path in other.items()}
    assert np.array_equal(made["folder"], made["file"])
    assert np.array_equal(made["folder"], made["original"])
    assert not np.array_equal(made["folder"], before)
    assert engine.pipe.vae is own
    assert engine.fingerprint() == mark
    assert np.array_equal(drawn(engine, world.plan(), world), before)


def test_an_image_of_another_vae_replays_to_the_bit(world, engine, other, tmp_path):
    plan = world.plan(world.expert("owl"), vae=pin_vae(other["original"]))
    save_png(render(engine, plan, world.locate)[0], tmp_path / "a.png", plan, 0, {"device": "cpu", "dtype": "float32"})
    done = replay(tmp_path / "a.png", engine, world.locate)
    assert done.equal
    assert done.record.plan.vae == plan.vae
    assert pixels_sha256(done.image) == done.record.pixels_sha256


def test_one_that_does_not_fit_is_a_plan_error_and_the_base_goes_on(world, engine, tmp_path):
    torch.manual_seed(1)
    AutoencoderKL(block_out_channels=(4,), norm_num_groups=4, latent_channels=8).save_pretrained(tmp_path / "wide")
    small = tmp_path / "wide" / "diffusion_pytorch_model.safetensors"
    before = drawn(engine, world.plan(), world)
    for path, said in ((tmp_path / "wide", "latents of 8 channels"), (small, "does not fit this base")):
        with pytest.raises(PlanError, match=said):
            drawn(engine, world.plan(vae=pin_vae(path)), world)
    assert np.array_equal(drawn(engine, world.plan(), world), before)
