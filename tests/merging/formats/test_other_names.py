"""Names that programs have written for the same weights: each leads where it should, and to the right value.

The right value is a dense sum in float64, worked out here from the tensors that are written.
"""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from diffgraph.bases.index import BaseIndex
from diffgraph.errors import ExpertError
from diffgraph.files.header import TensorInfo, read_header
from diffgraph.merging.formats import read_expert
from diffgraph.merging.formats.detect import detect
from diffgraph.merging.formats.textual_inversion import read_embedding


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(stem, rows, columns, seed=0, rank=2, parts=("lora_down", "lora_up"), alpha=None):
    """(tensors of one module, its delta in float64)."""
    down, up = draw(rank, *columns, seed=seed), draw(rows, rank, *([1] * (len(columns) - 1)), seed=seed + 1)
    tensors = {f"{stem}.{parts[0]}.weight": down, f"{stem}.{parts[1]}.weight": up}
    if alpha is not None:
        tensors[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return tensors, up.flatten(1).double() @ down.flatten(1).double() * (1.0 if alpha is None else alpha / rank)


def right(expert, expected):
    """Exactly these targets, each with this value."""
    assert set(expert.deltas) == set(expected)
    for target, value in expected.items():
        delta = expert.deltas[target].dense().double()
        torch.testing.assert_close(delta, value.reshape(delta.shape), rtol=1e-5, atol=1e-6)


def weight(own, module):
    return f"{own.component}.{module}.weight"


def test_a_flat_name_with_an_underscore_at_its_end(family, write_file, tmp_path):
    own = family("flux1")
    stem = "lora_unet_transformer_blocks_1_attn_to_q_"
    tensors, delta = pair(stem, 16, (16,), alpha=3)
    fused, three = pair("lora_unet_double_blocks_0_img_attn_qkv_", 48, (16,), seed=5, alpha=1)
    expert = read_expert(write_file(tmp_path / "x.safetensors", tensors | fused), own.base)
    parts = {weight(own, f"transformer_blocks.0.attn.to_{n}"): p for n, p in zip("qkv", three.split(16), strict=True)}
    right(expert, {weight(own, "transformer_blocks.1.attn.to_q"): delta} | parts)
    twice, _ = pair(f"{stem}_", 16, (16,))
    with pytest.raises(ExpertError, match="flat layout"):
        read_expert(write_file(tmp_path / "y.safetensors", twice), own.base)


def test_names_that_lack_the_letters_of_a_prefix_that_was_cut_too_long(family, write_file, tmp_path):
    own = family("flux2")
    cut = {
        "sformer_blocks.0.attn.add_k_proj": ("transformer_blocks.0.attn.add_k_proj", 16, 16),
        "le_transformer_blocks.1.attn.to_qkv_mlp_proj": ("single_transformer_blocks.1.attn.to_qkv_mlp_proj", 144, 16),
        "le_stream_modulation_img.linear": ("double_stream_modulation_img.linear", 96, 16),
        "guidance_in.in_layer": ("time_guidance_embed.guidance_embedder.linear_1", 16, 8),
    }
    tensors, expected = {}, {}
    for place, (written, (module, rows, columns)) in enumerate(cut.items()):
        more, delta = pair(written, rows, (columns,), seed=10 * place, parts=("lora_A", "lora_B"))
        tensors, expected = tensors | more, expected | {weight(own, module): delta}
    right(read_expert(write_file(tmp_path / "x.safetensors", tensors), own.base), expected)
    nowhere, _ = pair("former_blocks.0.attn.add_k_proj", 16, (16,), parts=("lora_A", "lora_B"))
    expert = read_expert(write_file(tmp_path / "y.safetensors", nowhere), own.base)
    assert expert.coverage == 0.0


@pytest.mark.parametrize("name", ["flux1", "sd3", "sd15", "z_image"])
def test_projections_that_diffusers_fused_itself(family, write_file, tmp_path, name):
    own = family(name)
    stem = {"sd15": "mid_block.attentions.0.transformer_blocks.0.attn1", "z_image": "layers.1.attention"}.get(
        name, "transformer_blocks.1.attn"
    )
    tensors, delta = pair(f"{own.component}.{stem}.to_qkv", 48, (16,), parts=("lora_A", "lora_B"))
    expected = {weight(own, f"{stem}.to_{n}"): part for n, part in zip("qkv", delta.split(16), strict=True)}
    if name in ("flux1", "sd3"):
        added, three = pair(f"{own.component}.{stem}.to_added_qkv", 48, (16,), seed=7, parts=("lora_A", "lora_B"))
        tensors |= added
        expected |= {weight(own, f"{stem}.add_{n}_proj"): p for n, p in zip("qkv", three.split(16), strict=True)}
    if name == "sd15":
        both, two = pair(f"unet.{stem.replace('attn1', 'attn2')}.to_kv", 32, (12,), seed=9, parts=("lora_A", "lora_B"))
        tensors |= both
        expected |= {
            weight(own, f"{stem.replace('attn1', 'attn2')}.to_{n}"): p for n, p in zip("kv", two.split(16), strict=True)
        }
    right(read_expert(write_file(tmp_path / "x.safetensors", tensors), own.base), expected)


def test_a_projection_that_is_written_fused_and_in_parts_counts_once(family, write_file, tmp_path):
    """As one trainer writes Z-Image: the parts under names taken apart at underscores, alphas under whole ones."""
    own, tensors, expected = family("z_image"), {}, {}
    ups, downs = [], []
    for place, name in enumerate("qkv"):
        parts = ("lora.down", "lora.up")
        some, delta = pair(f"layers.0.attention.to.{name}", 16, (16,), seed=20 * place, parts=parts)
        downs, ups = [*downs, draw(2, 16, seed=20 * place)], [*ups, draw(16, 2, seed=20 * place + 1)]
        tensors |= some | {f"layers.0.attention.to_{name}.alpha": torch.tensor(2.0)}
        expected[weight(own, f"layers.0.attention.to_{name}")] = delta
    out, delta = pair("layers.0.attention.to_out.0", 16, (16,), seed=90, parts=("lora.down", "lora.up"))
    expected[weight(own, "layers.0.attention.to_out.0")] = delta
    tensors |= out | {key.replace("to_out.0", "out"): value for key, value in out.items()}
    tensors["layers.0.attention.qkv.lora.down.weight"] = torch.cat(downs)
    tensors["layers.0.attention.qkv.lora.up.weight"] = torch.block_diag(*ups)
    expert = read_expert(write_file(tmp_path / "x.safetensors", tensors), own.base)
    right(expert, expected)
    assert any("second time" in note for note in expert.notes)


def test_a_projection_fused_beside_some_of_its_parts_is_refused(family, write_file, tmp_path):
    own = family("z_image")
    fused, _ = pair("layers.0.attention.qkv", 48, (16,))
    part, _ = pair("layers.0.attention.to_q", 16, (16,))
    with pytest.raises(ExpertError, match="two adapters for"):
        read_expert(write_file(tmp_path / "x.safetensors", fused | part), own.base)


def test_weights_that_are_given_outright(family, write_file, tmp_path):
    own = family("flux1")
    tensors, delta = pair("diffusion_model.double_blocks.0.img_attn.proj", 16, (16,), parts=("lora_A", "lora_B"))
    scale, new = draw(8, seed=3), draw(16, 16, seed=4)
    tensors["diffusion_model.double_blocks.1.txt_attn.norm.key_norm.scale"] = scale
    tensors["diffusion_model.single_blocks.0.norm.query_norm.scale"] = scale
    tensors["diffusion_model.txt_in.set_weight"] = new[:, :12]
    expert = read_expert(write_file(tmp_path / "x.safetensors", tensors), own.base)
    assert expert.kind == "lora"
    expected = {weight(own, "transformer_blocks.0.attn.to_out.0"): delta}
    for module, value in [
        ("transformer_blocks.1.attn.norm_added_k", scale),
        ("single_transformer_blocks.0.attn.norm_q", scale),
        ("context_embedder", new[:, :12]),
    ]:
        expected[weight(own, module)] = value.double() - own.weight(module).double()
    right(expert, expected)


def test_a_file_of_weights_given_outright_alone(family, write_file, tmp_path):
    own = family("flux1")
    new = draw(16, 16, seed=4)
    path = write_file(tmp_path / "x.safetensors", {"transformer.transformer_blocks.0.attn.to_q.set_weight": new})
    expert = read_expert(path, own.base)
    assert (expert.kind, expert.rank) == ("full", None)
    module = "transformer_blocks.0.attn.to_q"
    right(expert, {weight(own, module): new.double() - own.weight(module).double()})
    bad = {"transformer.transformer_blocks.0.attn.to_q.set_weight": new[:, :4]}
    with pytest.raises(ExpertError, match="does not fit"):
        read_expert(write_file(tmp_path / "y.safetensors", bad), own.base)


WIDER = {
    "flux1": ("transformer", "x_embedder", "img_in"),
    "sd15": ("unet", "conv_in", "input_blocks.0.0"),
}


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("name", WIDER)
def test_a_base_with_more_inputs_keeps_them(family, write_file, tmp_path, name, original):
    """FLUX.1 Fill and inpainting UNets: what was made for the plain model changes its inputs, which come first."""
    own = family(name)
    component, module, theirs = WIDER[name]
    params = dict(own.base.params)
    target = f"{component}.{module}.weight"
    file, key, info = params[target]
    rows, columns, *kernel = info.shape
    params[target] = file, key, TensorInfo(info.dtype, (rows, 3 * columns, *kernel), 0, 0)
    wide = BaseIndex(own.base.path, own.base.denoiser, own.base.files, params)
    stem = f"diffusion_model.{theirs}" if original else f"{component}.{module}"
    tensors, delta = pair(stem, rows, (columns, *kernel), alpha=1)
    other, plain = pair(
        f"{component}.{'proj_out' if name == 'flux1' else 'mid_block.resnets.0.time_emb_proj'}",
        *((4, (16,)) if name == "flux1" else (16, (32,))),
    )
    expert = read_expert(write_file(tmp_path / "x.safetensors", tensors | other), wide)
    padded = torch.zeros(rows, 3 * columns, *kernel, dtype=torch.float64)
    padded[:, :columns] = delta.reshape(rows, columns, *kernel)
    (second,) = {key.split(".lora")[0] for key in other}
    right(expert, {target: padded, f"{second}.weight": plain})
    full = {f"{stem}.diff": draw(rows, columns, *kernel)}
    expert = read_expert(write_file(tmp_path / "y.safetensors", full), wide)
    padded[:, :columns] = full[f"{stem}.diff"].double()
    right(expert, {target: padded})


def test_other_layers_and_narrower_bases_are_not_padded(family, write_file, tmp_path):
    own = family("flux1")
    for module, columns in [("transformer.context_embedder", 8), ("transformer.x_embedder", 8)]:
        tensors, _ = pair(module, 16, (columns,))
        with pytest.raises(ExpertError, match="another family"):
            read_expert(write_file(tmp_path / "x.safetensors", tensors), own.base)


@pytest.mark.parametrize("name", ["sd15", "flux1", "qwen"])
def test_a_checkpoint_under_diffusion_model_alone(family, write_file, tmp_path, name):
    own = family(name)
    state = {k: v + draw(*v.shape, seed=1) for k, v in own.model.state_dict().items()}
    path = write_file(tmp_path / "x.safetensors", {f"diffusion_model.{k}": v for k, v in state.items()})
    expert = read_expert(path, own.base)
    assert expert.kind == "checkpoint"
    before = own.model.state_dict()
    right(expert, {f"{own.component}.{k}": v.double() - before[k].double() for k, v in state.items()})
    odd = {f"diffusion_model.{k}": v for k, v in state.items()} | {"diffusion_model.nowhere.weight": draw(1)}
    with pytest.raises(ExpertError, match="base lacks"):
        read_expert(write_file(tmp_path / "y.safetensors", odd), own.base)


OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )


@pytest.mark.parametrize("old_base", [False, True])
@pytest.mark.parametrize("old_expert", [False, True])
def test_old_names_of_an_autoencoder(family, autoencoder, write_file, tmp_path, old_base, old_expert):
    folder = tmp_path / "base"
    family("sd15").model.save_pretrained(folder / "unet")
    state = {}
    for key, value in autoencoder.state_dict().items():
        for new, old in OLD.items() if old_base else ():
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        state[key] = value.contiguous()
    (folder / "vae").mkdir()
    save_file(state, folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text(json.dumps({name: ["diffusers", "X"] for name in ("unet", "vae")}))
    base = BaseIndex.open(folder)
    tensors, expected = {}, {}
    for place, (new, old) in enumerate(OLD.items()):
        stem = "vae.decoder.mid_block.attentions.0."
        some, delta = pair(stem + (old if old_expert else new), 8, (8,), seed=10 * place)
        tensors, expected = tensors | some, expected | {f"{stem}{new}.weight": delta}
    right(read_expert(write_file(tmp_path / "x.safetensors", tensors), base), expected)
    assert torch.equal(base.tensor(f"{stem}to_q.weight"), autoencoder.decoder.mid_block.attentions[0].to_q.weight)


def test_shards_of_a_variant_with_their_index(family, tmp_path):
    own = family("sd15")
    tuned = family("sd15").model.state_dict()
    folder = tmp_path / "tuned" / "unet"
    folder.mkdir(parents=True)
    keys = sorted(tuned)
    files = [f"diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    placed = {key: files[place % 2] for place, key in enumerate(keys)}
    new = {key: tuned[key] + draw(*tuned[key].shape, seed=5).half() for key in keys}
    for file in files:
        save_file({k: new[k].contiguous() for k in keys if placed[k] == file}, folder / file)
    index = folder / "diffusion_pytorch_model.safetensors.index.fp16.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    expert = read_expert(tmp_path / "tuned", own.base)
    right(expert, {f"unet.{k}": new[k].double() - tuned[k].double() for k in keys})
    base = tmp_path / "base"
    folder.parent.rename(base)
    (base / "model_index.json").write_text(json.dumps({"unet": ["diffusers", "X"]}))
    assert set(BaseIndex.open(base).params) == {f"unet.{key}" for key in keys}


def test_vectors_for_an_encoders_output_are_refused_by_name(family, write_file, tmp_path):
    path = write_file(tmp_path / "x.safetensors", {"clip_l": draw(2, 8), "clip_l_out": draw(2, 8)})
    assert detect(read_header(path))[1] == "textual_inversion"
    with pytest.raises(ExpertError, match="output of a text encoder") as caught:
        read_embedding(path, family("sd15").base)
    assert caught.value.keys == ("clip_l_out",)


def test_a_single_file_is_still_a_checkpoint_though_norms_are_scales_there(family, write_file, tmp_path):
    own = family("flux1")
    adapter, _ = pair("double_blocks.0.img_attn.proj", 16, (16,), parts=("lora_A", "lora_B"))
    scales = {f"double_blocks.{i}.img_attn.norm.key_norm.scale": draw(8, seed=i) for i in (0, 1)}
    assert detect(read_header(write_file(tmp_path / "x.safetensors", adapter | scales)))[1] == "lora"
    plain = {"double_blocks.0.img_attn.qkv.weight": draw(48, 16), **scales}
    path = write_file(tmp_path / "y.safetensors", plain)
    assert detect(read_header(path))[1] == "checkpoint"
    with pytest.raises(ExpertError, match="no full checkpoint"):
        read_expert(path, own.base)
    assert set(load_file(path)) == set(plain)
