"""Bases and experts whose weights are stored narrower than meant: scaled as a dense float64 sum says, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgraph.bases.index import BaseIndex
from diffgraph.errors import DiffGraphError, ExpertError, UserError
from diffgraph.files.header import read_header
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.engine.stream import FileMerge
from diffgraph.merging.export.export import export_denoiser
from diffgraph.merging.formats.detect import kind_and_rank
from diffgraph.merging.formats.read import read_expert
from diffgraph.merging.plan.check import check

UNET = "unet/diffusion_pytorch_model.safetensors"
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def quantised(world, folder: Path, change, metadata=None, config=None) -> Path:
    """A copy of the tiny base whose UNet's tensors are changed by ``change(tensors)``."""
    shutil.copytree(world.base_dir, folder)
    tensors = load_file(folder / UNET)
    save_file({k: t.clone().contiguous() for k, t in change(tensors).items()}, folder / UNET, metadata)
    if config is not None:
        path = folder / "unet" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": config}))
    return folder


def scaled(tensors, dtype, name, channels, wide=()):
    """fp8 with scales for every matrix and convolution, as ComfyUI and compressed-tensors write it."""
    out = dict(tensors)
    for key, weight in tensors.items():
        if weight.dim() < 2 or not key.endswith(".weight") or any(word in key for word in wide):
            continue
        top = weight.flatten(1).abs().amax(1) if channels else weight.abs().max()
        scale = (top / 100 * 7).clamp(min=1e-4)
        shaped = scale.reshape(-1, *[1] * (weight.dim() - 1))
        out[key] = (weight / shaped).to(dtype)
        scale = scale.reshape(-1, 1) if channels == "column" else scale
        out[key.replace(".weight", name)] = scale
    return out


def meant(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Target -> what the base's UNet means, in float64."""
    tensors = load_file(folder / UNET)
    out = {}
    for key, weight in tensors.items():
        scale = tensors.get(key.replace(".weight", name)) if key.endswith(".weight") else None
        wide = weight.to(torch.float64)
        if scale is not None:
            flat = scale.to(torch.float64).flatten()
            wide = wide * (flat if len(flat) == 1 else flat.reshape(-1, *[1] * (wide.dim() - 1)))
        out[f"unet.{key}"] = wide
    return out


def product(world, name):
    """Target -> delta of a LoRA of PEFT's, in float64; its alpha is its rank."""
    tensors = world.tensors(name)
    out = {}
    for key, down in tensors.items():
        if ".lora_A." in key:
            up = tensors[key.replace("lora_A", "lora_B")].to(torch.float64)
            out[key.replace(".lora_A", "")] = up.flatten(1) @ down.to(torch.float64).flatten(1)
    return out


def rebased(world, folder, *experts):
    base = BaseIndex.open(folder)
    plan = world.plan(*experts)
    return base, plan.model_copy(update={"base": plan.base.model_copy(update={"sha256": base.sha256})})


def close(got, right, rel=1e-6):
    return float((got.to(torch.float64) - right).norm()) <= rel * float(right.norm())


MARKERS = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}


@pytest.mark.parametrize("dtype", FP8)
@pytest.mark.parametrize(
    ("name", "channels"), [(".scale_weight", ""), (".weight_scale", "row"), (".weight_scale", "column")]
)
def test_a_scaled_fp8_base_is_read_with_its_scales(world, tmp_path, dtype, name, channels):
    def change(tensors):
        out = scaled(tensors, dtype, name, channels)
        extra = {
            k.replace(name, f".{n}"): torch.ones(())
            for k in out
            if k.endswith(name)
            for n in ("scale_input", "input_scale")
        }
        return out | extra | (MARKERS if name == ".scale_weight" else {})

    folder = quantised(world, tmp_path / "base", change)
    base, plan = rebased(world, folder, world.expert("owl"))
    assert not [t for t in base.params if "scale" in t]
    assert check(plan, base, world.locate).ok
    right = meant(folder, name)
    deltas = product(world, "owl")
    engine = Engine(folder, device="cpu")
    engine.apply(plan, world.locate)
    merge = FileMerge(plan, base, world.locate)
    for target, weight in engine.weights.items():
        if target.startswith("unet."):
            total = right[target]
            if target in deltas:
                total = total + deltas[target].reshape(total.shape)
                (streamed,) = merge.weight(target, torch.float32)
                assert close(streamed, total), target
            assert close(weight, total), target
    written = tmp_path / "merged.safetensors"
    export_denoiser(merge, written, {})
    plain = load_file(written)
    assert not [k for k in plain if "scale" in k]
    for key, weight in plain.items():
        total = right[f"unet.{key}"]
        if f"unet.{key}" in deltas:
            total = total + deltas[f"unet.{key}"].reshape(total.shape)
        assert close(weight, total), key


@pytest.mark.parametrize("dtype", FP8)
def test_a_plain_fp8_base_is_cast(world, tmp_path, dtype):
    folder = quantised(world, tmp_path / "base", lambda tensors: {k: t.to(dtype) for k, t in tensors.items()})
    base, plan = rebased(world, folder, world.expert("owl"))
    right, deltas = meant(folder, ".none"), product(world, "owl")
    for options in ({}, {"base_in": "memory"}):
        engine = Engine(folder, device="cpu", **options)
        engine.apply(plan, world.locate)
        for target, delta in deltas.items():
            assert close(engine.weights[target], right[target] + delta.reshape(right[target].shape)), target
    assert engine.pipe("an owl", num_inference_steps=1, output_type="np").images.shape[0] == 1
    merge = FileMerge(plan, base, world.locate)
    export_denoiser(merge, tmp_path / "wide.safetensors", {}, dtype=torch.float32)
    wide = load_file(tmp_path / "wide.safetensors")
    for target, delta in deltas.items():
        assert close(wide[target.removeprefix("unet.")], right[target] + delta.reshape(right[target].shape))
    export_denoiser(merge, tmp_path / "same.safetensors", {})
    assert {t.dtype for t in load_file(tmp_path / "same.safetensors").values()} == {dtype}


KEY = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
MODULE = KEY.removesuffix(".weight")


def renamed(ending, value):
    """The weight is gone; something else is there in its place."""
    return lambda tensors: {k: t for k, t in tensors.items() if k != KEY} | {f"{MODULE}{ending}": value}


def beside(**values):
    """More tensors beside the weight, which is bytes."""
    return lambda tensors: (
        tensors | {KEY: torch.ones(8, 16, dtype=torch.uint8)} | {f"{MODULE}.{k}": v for k, v in values.items()}
    )


def fp8_with(scale, name=".weight_scale"):
    return lambda tensors: tensors | {KEY: tensors[KEY].to(torch.float8_e4m3fn), f"{MODULE}{name}": scale}


BYTES = torch.ones(4, dtype=torch.uint8)
REFUSED = {
    "nf4": (
        beside(**{"weight.absmax": BYTES, "weight.quant_state.bitsandbytes__nf4": BYTES}),
        "bitsandbytes nf4",
    ),
    "absmax": (beside(**{"weight.absmax": BYTES, "weight.quant_map": torch.ones(16)}), "bitsandbytes 4-bit"),
    "SCB": (lambda t: t | {KEY: t[KEY].to(torch.int8), f"{MODULE}.SCB": torch.ones(16)}, "bitsandbytes int8"),
    "int8": (lambda t: t | {KEY: t[KEY].to(torch.int8), f"{MODULE}.weight_scale": torch.ones(16)}, "int8"),
    "int8 without a scale": (lambda t: t | {KEY: t[KEY].to(torch.int8)}, "int8"),
    "gptq": (renamed(".qweight", torch.ones(2, 16, dtype=torch.int32)), "GPTQ"),
    "svdquant": (beside(wscales=torch.ones(1), smooth_factor=torch.ones(16)), "SVDQuant"),
    "quanto": (renamed(".weight._data", torch.ones(16, 16, dtype=torch.int8)), "quanto"),
    "torchao": (renamed(".weight_qdata", torch.ones(16, 16, dtype=torch.int8)), "torchao"),
    "compressed-tensors": (renamed(".weight_packed", torch.ones(16, 2, dtype=torch.int32)), "compressed-tensors"),
    "modelopt": (fp8_with(torch.ones(()), ".weight_quantizer._scale"), "modelopt"),
    "nvfp4": (fp8_with(torch.ones(()), ".weight_scale_2"), "NVFP4"),
    "mxfp4": (renamed("_blocks", torch.ones(16, 1, 16, dtype=torch.uint8)), "MXFP4"),
    "block scales": (fp8_with(torch.ones(2, 2)), "blocks or groups"),
    "deepseek": (fp8_with(torch.ones(1, 1), ".weight_scale_inv"), "DeepSeek"),
    "wrong length": (fp8_with(torch.ones(3)), "blocks or groups"),
    "integer scale": (fp8_with(torch.ones((), dtype=torch.int32)), "I32"),
    "unknown scale": (fp8_with(torch.ones(()), ".scale_of_the_weight"), "not understood"),
    "lost scale": (lambda t: t | {KEY: t[KEY].to(torch.float8_e4m3fn)} | MARKERS, "none for some"),
    "lost weight": (lambda t: t | {"nowhere.weight_scale": torch.ones(())}, "without its weight"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_name_in_check_and_merge(world, tmp_path, case):
    change, name = REFUSED[case]
    folder = quantised(world, tmp_path / "base", change)
    for act in (lambda: check(world.plan(), folder, world.locate), lambda: Engine(folder, device="cpu")):
        with pytest.raises(UserError, match=name) as caught:
            act()
        assert "What to do: take the bfloat16" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ({"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "nf4"}, "bitsandbytes"),
        ({"quant_method": "torchao", "quant_type": "int8wo"}, "torchao"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors"),
        ({"quant_method": "quanto", "weights_dtype": "int8"}, "quanto"),
        ({"quant_method": "modelopt", "quant_type": "FP8"}, "modelopt"),
        ({"quant_method": "brand-new"}, "brand-new"),
        ({"bits": 3}, "config.json describes"),
    ],
)
def test_a_method_that_only_the_configuration_names_is_refused(world, tmp_path, method, name):
    folder = quantised(world, tmp_path / "base", dict, config=method)
    with pytest.raises(UserError, match=name):
        BaseIndex.open(folder)
    with pytest.raises(ExpertError, match=name):
        read_expert(folder / UNET, world.base)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"quantization_config": '{"method": "svdquant", "weight": {"dtype": "int4"}}'}, "SVDQuant"),
        ({"_quantization_metadata": '{"layers": {"a": {"format": "nvfp4"}}}'}, "NVFP4"),
        ({"quantization": "int8 rowwise"}, "int8"),
        ({"quant_method": "something"}, "metadata"),
    ],
)
def test_a_method_that_only_the_metadata_names_is_refused(world, tmp_path, metadata, name):
    folder = quantised(world, tmp_path / "base", dict, metadata)
    with pytest.raises(UserError, match=name):
        BaseIndex.open(folder)


def test_metadata_that_speaks_of_fp8_or_of_nothing_is_no_obstacle(world, tmp_path):
    said = {"quantization": "float8_e4m3fn", "quantized": "false", "quantization_config": "null"}
    folder = quantised(world, tmp_path / "base", lambda t: {k: v.to(FP8[0]) for k, v in t.items()}, said)
    assert BaseIndex.open(folder).scaled == frozenset()


def test_gguf_is_named(world, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(world.base_dir, folder)
    (folder / UNET).rename(folder / "unet/model.gguf")
    (folder / "unet/model.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\0" * 64)
    shutil.copy(folder / "unet/model.gguf", folder / "renamed.safetensors")
    for path in (folder, folder / "unet/model.gguf"):
        with pytest.raises(UserError, match="GGUF"):
            BaseIndex.open(path)
    for path in (folder / "unet/model.gguf", folder / "renamed.safetensors"):
        with pytest.raises(ExpertError, match="GGUF"):
            read_expert(path, world.base)


def test_a_scaled_expert_is_read_with_its_scales(world, tmp_path):
    """A LoRA whose factors are fp8 with a scale a tensor, and a checkpoint with one an output."""
    tensors = world.tensors("owl")
    stored = {}
    for key, factor in tensors.items():
        scale = factor.abs().max() / 50
        stored[key] = (factor / scale).to(FP8[0])
        stored[key.replace(".weight", ".scale_weight")] = scale
    path = world.write("small", stored)
    right = {}
    for target in product(world, "owl"):
        up, down = (target.removesuffix(".weight") + f".lora_{part}" for part in "BA")
        u, d = (stored[f"{n}.weight"].double() * stored[f"{n}.scale_weight"].double() for n in (up, down))
        right[target] = u.flatten(1) @ d.flatten(1)
    read = read_expert(path, world.base)
    assert (read.kind, read.rank) == ("lora", 4)
    assert set(read.deltas) == set(right)
    for target, delta in read.deltas.items():
        assert close(delta.matrix(), right[target]), target
    tuned = quantised(
        world, tmp_path / "tuned", lambda t: scaled({k: v * 1.5 for k, v in t.items()}, FP8[0], ".weight_scale", "row")
    )
    world.add("tuned8", tuned / UNET)
    checkpoint = read_expert(tuned / UNET, world.base)
    own, wanted = meant(world.base_dir, ".none"), meant(tuned, ".weight_scale")
    for target, delta in checkpoint.deltas.items():
        assert close(delta.matrix(), (wanted[target] - own[target]).reshape(delta.matrix().shape)), target
    merge = FileMerge(world.plan(world.expert("tuned8")), world.base, world.locate)
    for target in merge.targets:
        (weight,) = merge.weight(target, torch.float32)
        assert close(weight, wanted[target]), target


@pytest.mark.parametrize("case", ["int8", "nf4", "svdquant", "unknown scale"])
def test_a_quantised_expert_is_refused_by_name(world, tmp_path, case):
    change, name = REFUSED[case]
    path = quantised(world, tmp_path / "expert", change) / UNET
    world.add("narrow", path)
    report = check(world.plan(world.expert("narrow")), world.base, world.locate)
    assert not report.ok
    assert name in report.sentences()
    for act in (lambda: read_expert(path, world.base), lambda: kind_and_rank(read_header(path))):
        with pytest.raises(DiffGraphError, match=name):
            act()


def test_a_quantised_lora_is_refused_by_name(world):
    tensors = world.tensors("owl")
    key = sorted(tensors)[0]
    path = world.write(
        "narrow", tensors | {key: tensors[key].to(torch.int8), key.replace(".weight", ".SCB"): torch.ones(4)}
    )
    with pytest.raises(ExpertError, match="bitsandbytes int8"):
        read_expert(path, world.base)


def test_scales_that_are_not_finite_are_refused(world, tmp_path):
    folder = quantised(world, tmp_path / "base", fp8_with(torch.tensor(float("nan"))))
    base, plan = rebased(world, folder, world.expert("owl"))
    with pytest.raises(DiffGraphError):
        list(FileMerge(plan, base, world.locate).weight(f"unet.{KEY}", torch.float32))
