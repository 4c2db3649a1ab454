"""Key layouts of trainers and of the models' original code, against diffusers' own conversions."""

from __future__ import annotations

import types

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as lora
from diffusers.loaders import single_file_utils as single

from diffgraph.bases.index import BaseIndex
from diffgraph.errors import ExpertError
from diffgraph.files.header import TensorInfo
from diffgraph.merging.formats import read_expert
from diffgraph.merging.formats.layouts import original_names
from diffgraph.merging.formats.names import ModuleNames


def at_width(function, width):
    """diffusers writes FLUX.1's width into its code; this is the same code for a pico model's."""
    sizes = {3072: width, 12288: 4 * width}

    def swapped(const):
        if isinstance(const, types.CodeType):
            return const.replace(co_consts=tuple(map(swapped, const.co_consts)))
        if isinstance(const, tuple):
            return tuple(map(swapped, const))
        return sizes.get(const, const) if type(const) is int else const

    return types.FunctionType(swapped(function.__code__), function.__globals__)


def factors(shapes, down="lora_down", up="lora_up", alpha=True):
    """A rank-2 LoRA for modules of (rows, columns[, kernel]) each."""
    generator, out = torch.Generator().manual_seed(3), {}
    for name, (rows, columns, *kernel) in shapes.items():
        ones = [1] * len(kernel)
        out[f"{name}.{down}.weight"] = torch.randn(2, columns, *kernel, generator=generator)
        out[f"{name}.{up}.weight"] = torch.randn(rows, 2, *ones, generator=generator)
        if alpha:
            out[f"{name}.alpha"] = torch.tensor(3.0)
    return out


def fused_shapes(own, names):
    """File's module -> shape, for original names of one family."""
    known = original_names(
        [name for name, _ in own.model.named_modules() if hasattr(own.model.get_submodule(name), "weight")]
    )
    out = {}
    for name in names:
        shapes = [tuple(own.weight(module).shape) for module in known[name][0]]
        out[name] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return out


def same(own, write_file, folder, ours, theirs):
    """Both files mean the same; ``theirs`` is what diffusers made of ``ours``."""
    a = read_expert(write_file(folder / "ours.safetensors", ours), own.base)
    b = read_expert(write_file(folder / "theirs.safetensors", theirs), own.base)
    assert not a.missing
    assert set(a.deltas) == set(b.deltas)
    for target, delta in a.deltas.items():
        torch.testing.assert_close(delta.dense(), b.deltas[target].dense(), rtol=1e-5, atol=1e-5)


FLUX = [
    *(
        f"double_blocks.{i}.{s}_{n}"
        for i in (0, 1)
        for s in ("img", "txt")
        for n in ("attn.qkv", "attn.proj", "mlp.0", "mod.lin")
    ),
    *(f"single_blocks.{i}.{n}" for i in (0, 1) for n in ("linear1", "linear2", "modulation.lin")),
]


def test_kohya_flux(family, write_file, tmp_path):
    own = family("flux1")
    shapes = fused_shapes(own, FLUX)
    ours = factors({f"lora_unet_{name.replace('.', '_')}": shape for name, shape in shapes.items()})
    theirs = at_width(lora._convert_kohya_flux_lora_to_diffusers, 16)(dict(ours))
    same(own, write_file, tmp_path, ours, theirs)


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_xlabs(family, write_file, tmp_path, prefix):
    own = family("flux1")
    blocks = {
        f"double_blocks.{i}.processor.{p}_lora{n}": ((48 if p == "qkv" else 16), 16)
        for i in (0, 1)
        for p in ("qkv", "proj")
        for n in (1, 2)
    } | {"single_blocks.1.processor.qkv_lora": (48, 16), "single_blocks.1.processor.proj_lora": (16, 80)}
    ours = factors({prefix + name: shape for name, shape in blocks.items()}, "down", "up", alpha=False)
    same(own, write_file, tmp_path, ours, lora._convert_xlabs_flux_lora_to_diffusers(dict(ours)))


@pytest.mark.parametrize("flat", [True, False])
def test_flux2(family, write_file, tmp_path, flat):
    own = family("flux2")
    names = [
        *(
            f"double_blocks.{i}.{s}_{n}"
            for i in (0, 1)
            for s in ("img", "txt")
            for n in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
        ),
        *(
            "single_blocks.1.linear1",
            "single_blocks.0.linear2",
            "img_in",
            "txt_in",
            "time_in.in_layer",
            "final_layer.linear",
        ),
    ]
    shapes = fused_shapes(own, names)
    if flat:
        ours = factors({f"lora_unet_{name.replace('.', '_')}": shape for name, shape in shapes.items()})
        same(own, write_file, tmp_path, ours, lora._convert_kohya_flux2_lora_to_diffusers(dict(ours)))
    else:  # as ai-toolkit writes it
        shapes |= fused_shapes(own, ["double_stream_modulation_img.lin", "guidance_in.out_layer"])
        ours = factors(
            {f"diffusion_model.{name}": shape for name, shape in shapes.items()}, "lora_A", "lora_B", alpha=False
        )
        same(own, write_file, tmp_path, ours, lora._convert_non_diffusers_flux2_lora_to_diffusers(dict(ours)))


def test_flux2_lokr_by_lycoris(family, write_file, tmp_path):
    own = family("flux2")
    modules = {"transformer_blocks_1_attn_to_q": (16, 16), "single_transformer_blocks_0_attn_to_out": (16, 64)}
    ours = {}
    for name, (rows, columns) in modules.items():
        ours[f"lycoris_{name}.lokr_w1"] = torch.randn(4, 4)
        ours[f"lycoris_{name}.lokr_w2_a"] = torch.randn(rows // 4, 2)
        ours[f"lycoris_{name}.lokr_w2_b"] = torch.randn(2, columns // 4)
        ours[f"lycoris_{name}.alpha"] = torch.tensor(1.0)
    same(own, write_file, tmp_path, ours, lora._convert_lycoris_flux2_lokr_to_diffusers(dict(ours)) | {})


@pytest.mark.parametrize("form", ["kohya", "ai-toolkit"])
def test_z_image(family, write_file, tmp_path, form):
    own = family("z_image")
    names = ["attention.to_q", "attention.to_v", "attention.to_out.0", "feed_forward.w1", "feed_forward.w2"]
    shapes = {f"{c}.0.{n}": tuple(own.weight(f"{c}.0.{n}").shape) for c in ("layers", "noise_refiner") for n in names}
    if form == "kohya":
        shapes = {f"lora_unet_{name.replace('.', '_')}": shape for name, shape in shapes.items()}
        ours = factors(shapes)
    else:
        ours = factors(
            {f"diffusion_model.{name}": shape for name, shape in shapes.items()}, "lora_A", "lora_B", alpha=False
        )
    same(own, write_file, tmp_path, ours, lora._convert_non_diffusers_z_image_lora_to_diffusers(dict(ours)))


@pytest.mark.parametrize("form", ["kohya", "ComfyUI"])
def test_qwen_image(family, write_file, tmp_path, form):
    own = family("qwen")
    names = [
        "attn.to_k",
        "attn.add_q_proj",
        "attn.to_out.0",
        "attn.to_add_out",
        "img_mlp.net.2",
        "txt_mlp.net.0.proj",
        "txt_mod.1",
    ]
    shapes = {f"transformer_blocks.1.{n}": tuple(own.weight(f"transformer_blocks.1.{n}").shape) for n in names}
    if form == "kohya":
        ours = factors({f"lora_unet_{name.replace('.', '_')}": shape for name, shape in shapes.items()})
    else:
        ours = factors({f"diffusion_model.{name}": shape for name, shape in shapes.items()})
    same(own, write_file, tmp_path, ours, lora._convert_non_diffusers_qwen_lora_to_diffusers(dict(ours)))


def test_sdxl_blocks(family, write_file, tmp_path):
    own = family("sdxl")
    inner = "1.transformer_blocks.0"
    names = [
        *(f"input_blocks.{i}.{inner}.attn1.to_q" for i in (4, 5)),
        *(f"output_blocks.{i}.{inner}.attn2.to_v" for i in (0, 1, 2)),
        *("input_blocks.1.0.in_layers.2", "input_blocks.3.0.op", "input_blocks.4.0.skip_connection"),
        *("middle_block.0.out_layers.3", "middle_block.2.emb_layers.1", "middle_block.1.proj_in"),
        *("output_blocks.4.0.in_layers.2", "output_blocks.2.2.conv", "time_embed.0", "label_emb.0.2", "out.2"),
    ]
    ours = factors({f"lora_unet_{n.replace('.', '_')}": s for n, s in fused_shapes(own, names).items()}, alpha=False)
    config = types.SimpleNamespace(layers_per_block=2)
    mapped = lora._maybe_map_sgm_blocks_to_diffusers(dict(ours), config)
    theirs, _ = lora._convert_non_diffusers_lora_to_diffusers(mapped)
    same(own, write_file, tmp_path, ours, theirs)


CONVERT = {
    "sd15": lambda s, own: single.convert_ldm_unet_checkpoint(s, own.model.config),
    "sdxl": lambda s, own: single.convert_ldm_unet_checkpoint(s, own.model.config),
    "sd3": lambda s, own: single.convert_sd3_transformer_checkpoint_to_diffusers(s),
    "flux1": lambda s, own: at_width(single.convert_flux_transformer_checkpoint_to_diffusers, 16)(s),
    "flux2": lambda s, own: single.convert_flux2_transformer_checkpoint_to_diffusers(
        {k.removeprefix("model.diffusion_model."): v for k, v in s.items()}
    ),
    "z_image": lambda s, own: single.convert_z_image_transformer_checkpoint_to_diffusers(s),
}


def original_state(own, state):
    """A state dict under its original names, by our tables; what diffusers makes of it tells whether they are right."""
    modules = {key.rpartition(".")[0] for key in state}
    left, out = dict(state), {}
    for name, (ours, swap) in original_names(modules).items():
        for parameter in ("weight", "bias"):
            parts = [state[f"{m}.{parameter}"] for m in ours if f"{m}.{parameter}" in state]
            if parts and ".processor." not in name:
                whole = torch.cat(parts)
                two = own.weight(ours[0]).dim() == 2 and len(own.weight(ours[0])) == 2 * own.weight(ours[0]).shape[1]
                last = "scale" if name.endswith(("query_norm", "key_norm")) else parameter
                out[f"{name}.{last}"] = torch.cat(whole.chunk(2)[::-1]) if swap and two else whole
                for m in ours:
                    left.pop(f"{m}.{parameter}", None)
    if "pos_embed.pos_embed" in left:
        out["pos_embed"] = left.pop("pos_embed.pos_embed")
    return out | left


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        *((name, "model.diffusion_model.") for name in CONVERT),
        *((name, "") for name in ("sd3", "flux1", "flux2", "z_image")),
    ],
)
def test_single_files(family, write_file, tmp_path, name, prefix):
    own = family(name)
    generator = torch.Generator().manual_seed(7)
    state = {k: v + torch.randn(v.shape, generator=generator) for k, v in own.model.state_dict().items()}
    original = {f"model.diffusion_model.{k}": v for k, v in original_state(own, state).items()}
    converted = CONVERT[name](dict(original), own)
    assert set(converted) == set(state)
    path = write_file(
        tmp_path / "x.safetensors", {k.replace("model.diffusion_model.", prefix): v for k, v in original.items()}
    )
    expert = read_expert(path, own.base)
    assert expert.kind == "checkpoint"
    assert set(expert.deltas) == {f"{own.component}.{key}" for key in state}
    for key, value in converted.items():
        assert torch.equal(expert.deltas[f"{own.component}.{key}"].dense(), value - own.model.state_dict()[key])


def index(denoiser, **shapes):
    """A base that is only names and shapes."""
    params = {target: (None, target, TensorInfo("F32", shape, 0, 0)) for target, shape in shapes.items()}
    return BaseIndex(None, denoiser, {target.partition(".")[0]: () for target in shapes}, params)


def test_text_encoders_of_several_trainers():
    clip, t5 = "encoder.layers.0.mlp.fc1", "encoder.block.0.layer.0.SelfAttention.q"
    shapes = {f"text_encoder.{clip}.weight": (4, 4), f"text_encoder_2.{clip}.weight": (4, 4)}
    three = index("transformer", **shapes, **{f"text_encoder_3.{t5}.weight": (4, 4)})
    flux = index("transformer", **{f"text_encoder.{clip}.weight": (4, 4), f"text_encoder_2.{t5}.weight": (4, 4)})
    flat_clip, flat_t5 = clip.replace(".", "_"), t5.replace(".", "_")
    for base, written, ours in [
        (three, f"lora_te_text_model_{flat_clip}", f"text_encoder.{clip}"),
        (three, f"lora_te1_text_model_{flat_clip}", f"text_encoder.{clip}"),
        (three, f"lora_te2_text_model_{flat_clip}", f"text_encoder_2.{clip}"),
        (three, f"lora_te3_{flat_t5}", f"text_encoder_3.{t5}"),
        (flux, f"lora_te3_{flat_t5}", f"text_encoder_2.{t5}"),
        (three, f"text_encoders.clip_g.transformer.text_model.{clip}", f"text_encoder_2.{clip}"),
        (flux, f"text_encoders.t5xxl.transformer.{t5}", f"text_encoder_2.{t5}"),
        (flux, f"text_encoder.text_model.{clip}", f"text_encoder.{clip}"),
    ]:
        place = ModuleNames(base).find(written)
        assert place is not None
        assert place.modules == (ours,)
    assert ModuleNames(three).find("lora_te1_nowhere") is None


def test_names_of_another_family_are_refused(family, write_file, tmp_path):
    flux = factors({"lora_unet_double_blocks_0_img_attn_qkv": (48, 16)})
    with pytest.raises(ExpertError, match="does not have, in a flat layout") as caught:
        read_expert(write_file(tmp_path / "x.safetensors", flux), family("sd3").base)
    assert len(caught.value.keys) == 3
    dotted = factors({"diffusion_model.double_blocks.0.img_attn.qkv": (48, 16)})
    expert = read_expert(write_file(tmp_path / "y.safetensors", dotted), family("sd3").base)
    assert expert.coverage == 0.0


def test_fused_rows_must_add_up(family, write_file, tmp_path):
    for rows in (47, 20):
        path = write_file(tmp_path / "x.safetensors", factors({"lora_unet_double_blocks_0_img_attn_qkv": (rows, 16)}))
        with pytest.raises(ExpertError, match="another family"):
            read_expert(path, family("flux1").base)
