"""What files carry beside an expert: declared extras are left out and said, anything else is refused."""

from __future__ import annotations

import pytest
import torch

from diffgraph.errors import ExpertError
from diffgraph.files.header import read_header
from diffgraph.merging.formats.extras import without_extras
from diffgraph.merging.formats.read import read_expert
from diffgraph.merging.plan.check import check

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
EXTRAS = {
    "v_pred": (torch.empty(0), "how the model is sampled"),
    "ztsnr": (torch.empty(0), "how the model is sampled"),
    "bundle_emb.owl.clip_l": (torch.ones(2, 8), "textual inversion"),
    "embedding_manager.embedder.weight": (torch.ones(2, 8), "textual inversion"),
    "lora_te1_text_projection.lora_down.weight": (torch.ones(2, 8), "does not use it"),
    "text_encoder.text_projection.lora_A.weight": (torch.ones(2, 8), "does not use it"),
}


def other_half(key, tensor):
    pairs = {"lora_down": "lora_up", "lora_A": "lora_B"}
    return {key.replace(a, b): tensor.T for a, b in pairs.items() if a in key}


@pytest.mark.parametrize("key", EXTRAS)
def test_a_declared_extra_is_left_out_of_an_adapter_and_said(world, key):
    tensor, why = EXTRAS[key]
    plain = world.tensors("ink")
    right = read_expert(world.write("plain", plain), world.base).deltas
    path = world.write("extra", plain | {key: tensor} | other_half(key, tensor))
    expert = read_expert(path, world.base)
    assert expert.missing == ()
    assert set(expert.deltas) == set(right)
    assert all(torch.equal(delta.dense(), right[target].dense()) for target, delta in expert.deltas.items())
    (note,) = expert.notes
    assert why in note
    assert key.partition(".")[0] in note
    report = check(world.plan(world.expert("extra")), world.base, world.locate)
    assert report.ok
    assert why in report.sentences()


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("v_prediction", torch.empty(0)),
        ("v_pred", torch.ones(2)),
        ("bundle_embedding.owl", torch.ones(2)),
        ("vae.decoder.conv_in.weight", torch.ones(2, 2)),  # beside an adapter, there is no all-in-one file
        ("unet.conv_in.ia3_l", torch.ones(3)),
    ],
)
def test_what_is_not_declared_is_refused(world, key, tensor):
    path = world.write("unknown", world.tensors("ink") | {key: tensor})
    with pytest.raises(ExpertError) as caught:
        read_expert(path, world.base)
    assert key in caught.value.keys


def test_the_autoencoder_of_an_all_in_one_file_is_left_out(world):
    keys = ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "vae.decoder.conv_in.weight")
    header = without_extras(read_header(world.write("whole", {key: torch.ones(2, 2) for key in keys})))
    assert header.keys == keys[:1]
    assert "autoencoder" in header.left_out[keys[1]]
