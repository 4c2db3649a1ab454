"""A whole Stable Diffusion XL in one file: UNet, both text encoders, autoencoder; against diffusers' own conversion."""

from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from diffgraph.bases.index import BaseIndex, target_name
from diffgraph.errors import ExpertError
from diffgraph.merging.formats import read_expert


@pytest.fixture(scope="module")
def components(family, fill_module):
    config = CLIPTextConfig(
        vocab_size=9,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        projection_dim=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=2,
        norm_num_groups=4,
    )
    out = {"text_encoder": CLIPTextModel(config), "text_encoder_2": CLIPTextModelWithProjection(config), "vae": vae}
    for seed, module in enumerate(out.values()):
        fill_module(module, seed)
    return out


@pytest.fixture(scope="module")
def whole(family, components, tmp_path_factory):
    """A base with all components."""
    own, folder = family("sdxl"), tmp_path_factory.mktemp("whole")
    for name, module in ({"unet": own.model} | components).items():
        module.save_pretrained(folder / name)
    listing = {name: ["diffusers", "X"] for name in ("unet", *components)}
    (folder / "model_index.json").write_text(json.dumps(listing))
    return BaseIndex.open(folder)


def openclip(generator):
    """A text encoder as OpenCLIP writes it, with random values."""
    shapes = {"token_embedding.weight": (9, 8), "positional_embedding": (8, 8), "text_projection": (8, 8)}
    shapes |= {"ln_final.weight": (8,), "ln_final.bias": (8,), "logit_scale": ()}
    for i in range(2):
        block = f"transformer.resblocks.{i}"
        shapes |= {f"{block}.attn.in_proj_weight": (24, 8), f"{block}.attn.in_proj_bias": (24,)}
        for name, shape in {"attn.out_proj": (8, 8), "mlp.c_fc": (16, 8), "mlp.c_proj": (8, 16)}.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{block}.{name}.weight": (8,), f"{block}.{name}.bias": (8,)}
    return {f"conditioner.embedders.1.model.{k}": torch.randn(s, generator=generator) for k, s in shapes.items()}


def original_vae(state):
    """The autoencoder's parameters under CompVis' names; its attention is 1x1 convolutions there."""
    renames = [
        (r"mid_block\.resnets\.0\.", "mid.block_1."),
        (r"mid_block\.resnets\.1\.", "mid.block_2."),
        (r"mid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
        (r"mid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1."),
        (r"mid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
        (r"encoder\.down_blocks\.(\d)\.resnets\.", r"encoder.down.\1.block."),
        (r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
        (r"decoder\.up_blocks\.(\d)\.resnets\.", lambda m: f"decoder.up.{1 - int(m[1])}.block."),
        (r"decoder\.up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"decoder.up.{1 - int(m[1])}.upsample."),
        (r"conv_norm_out\.", "norm_out."),
        (r"conv_shortcut\.", "nin_shortcut."),
    ]
    out = {}
    for key, value in state.items():
        name = key
        for pattern, theirs in renames:
            name = re.sub(pattern, theirs, name)
        attention = ".attn_1." in name and value.dim() == 2
        out[f"first_stage_model.{name}"] = value[:, :, None, None] if attention else value
    return out


def test_every_component_of_a_single_file(whole, components, tmp_path):
    generator = torch.Generator().manual_seed(1)
    vae, text = components["vae"], components["text_encoder"]
    new_vae = {k: v + torch.randn(v.shape, generator=generator) for k, v in vae.state_dict().items()}
    new_text = {k: v + torch.randn(v.shape, generator=generator) for k, v in text.state_dict().items()}
    clip = openclip(generator)
    with_model = {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in new_text.items()}
    state = original_vae(new_vae) | clip
    state |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in with_model.items()}
    state |= {"betas": torch.ones(3), "model_ema.decay": torch.ones(1), "denoiser.sigmas": torch.ones(3)}
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "x.safetensors")

    expert = read_expert(tmp_path / "x.safetensors", whole)
    # diffusers' conversions, given the same tensors, must end where ours do
    theirs = convert_ldm_vae_checkpoint(dict(original_vae(new_vae)), vae.config)
    assert {k: tuple(v.shape) for k, v in theirs.items()} == {k: tuple(v.shape) for k, v in new_vae.items()}
    expected = {f"vae.{k}": v for k, v in theirs.items()}
    expected |= {target_name("text_encoder", k): v for k, v in new_text.items()}
    second = convert_open_clip_checkpoint(components["text_encoder_2"], dict(clip), "conditioner.embedders.1.model.")
    expected |= {target_name("text_encoder_2", k): v for k, v in second.items()}
    assert set(expert.deltas) == set(expected) == {t for t in whole.params if not t.startswith("unet.")}
    for target, delta in expert.deltas.items():
        assert torch.equal(delta.dense(), expected[target] - whole.tensor(target)), target


def test_what_the_base_does_without_is_left_out_and_said(whole, tmp_path):
    state = openclip(torch.Generator().manual_seed(1))
    save_file(state, tmp_path / "plain.safetensors")
    right = read_expert(tmp_path / "plain.safetensors", whole)
    extra = {
        "v_pred": torch.empty(0),
        "ztsnr": torch.empty(0),
        "conditioner.embedders.0.transformer.text_projection.weight": torch.ones(8, 8),
        "conditioner.embedders.1.model.transformer.resblocks.2.ln_1.weight": torch.ones(8),
    }
    save_file(state | extra, tmp_path / "x.safetensors")
    expert = read_expert(tmp_path / "x.safetensors", whole)
    assert set(expert.deltas) == set(right.deltas)
    assert all(torch.equal(delta.dense(), right.deltas[target].dense()) for target, delta in expert.deltas.items())
    assert right.notes == ()
    assert sorted(note.partition(" left out")[0] for note in expert.notes) == [
        "conditioner.embedders.0.transformer.text_projection.weight",
        "conditioner.embedders.1.model.transformer.resblocks.2.ln_1.weight",
        "v_pred and 1 more",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_stage_model.encoder.nowhere.weight": torch.ones(1)}, "base lacks"),
        ({"conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias": torch.ones(23)}, "24 rows"),
        ({"conditioner.embedders.1.model.visual.proj": torch.ones(1)}, "base lacks"),
        ({"something.else": torch.ones(1)}, "base lacks"),
        ({}, "no full checkpoint"),
    ],
)
def test_what_does_not_fit_is_refused(whole, tmp_path, change, message):
    state = openclip(torch.Generator().manual_seed(1))
    if not change:
        del state["conditioner.embedders.1.model.ln_final.bias"]
    save_file(state | change, tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match=message) as caught:
        read_expert(tmp_path / "x.safetensors", whole)
    assert caught.value.keys
