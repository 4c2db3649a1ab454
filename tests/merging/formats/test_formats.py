"""What files mean, and which files are refused. The diffusers/PEFT layouts are compared with PEFT in test_engine."""

from __future__ import annotations

import json
import math

import pytest
import torch

from diffgraph.errors import ExpertError
from diffgraph.merging.formats import read_expert

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "mid_block.resnets.0.conv1"
TE = "encoder.layers.1.self_attn.q_proj"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(rank=3, **more):
    """Factors for Q (8 x 8)."""
    return {f"unet.{Q}.lora_A.weight": draw(rank, 8), f"unet.{Q}.lora_B.weight": draw(8, rank, seed=1)} | more


def config(**fields):
    fields = {"r": 3, "lora_alpha": 6} | fields
    return {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in fields.items()})}


def test_old_diffusers_names_mean_the_same(world):
    new = pair()
    a, b = new.values()
    expected = read_expert(world.write("new", new), world.base).deltas[f"unet.{Q}.weight"].dense()
    stem = Q.removesuffix(".to_q")
    for index, (down, up) in enumerate(
        [
            (f"unet.{Q}.lora.down.weight", f"unet.{Q}.lora.up.weight"),
            (f"unet.{Q}.lora_linear_layer.down.weight", f"unet.{Q}.lora_linear_layer.up.weight"),
            (f"unet.{stem}.processor.to_q_lora.down.weight", f"unet.{stem}.processor.to_q_lora.up.weight"),
            (f"{Q}.lora_A.default.weight", f"{Q}.lora_B.default.weight"),
        ]
    ):
        read = read_expert(world.write(f"old{index}", {down: a, up: b}), world.base)
        assert torch.equal(read.deltas[f"unet.{Q}.weight"].dense(), expected)


def test_text_encoder_names_of_either_transformers_release_lead_to_the_same_weight(world):
    for index, prefix in enumerate(("", "text_model.")):
        names = [f"text_encoder.{prefix}{TE}.lora_{x}.weight" for x in "AB"]
        path = world.write(f"te{index}", {names[0]: draw(2, 8), names[1]: draw(8, 2)})
        expert = read_expert(path, world.base)
        assert set(expert.deltas) == {f"text_encoder.{TE}.weight"}
        assert not expert.missing


@pytest.mark.parametrize(
    "stem",
    [
        f"clip_l.text_model.{TE}",
        f"lora_te1.text_model.{TE}",
        f"lora_te.text_model.{TE}",
        f"text_encoder.{TE.removesuffix('.q_proj')}.to_q_lora",
    ],
)
def test_other_programs_names_of_a_text_encoder_lead_to_the_same_weight(world, stem):
    down, up = draw(2, 8), draw(8, 2, seed=1)
    parts = (".down", ".up") if stem.endswith("_lora") else (".lora_down", ".lora_up")
    path = world.write("names", {f"{stem}{parts[0]}.weight": down, f"{stem}{parts[1]}.weight": up})
    (delta,) = read_expert(path, world.base).deltas.items()
    assert delta[0] == f"text_encoder.{TE}.weight"
    assert torch.allclose(delta[1].dense().double(), up.double() @ down.double(), rtol=1e-6, atol=1e-7)


def test_kohya_flat_names_alpha_and_convolutions(world):
    flat, conv, te = (name.replace(".", "_") for name in (Q, CONV, f"text_model.{TE}"))
    tensors = {
        f"lora_unet_{flat}.lora_down.weight": draw(4, 8),
        f"lora_unet_{flat}.lora_up.weight": draw(8, 4, seed=1),
        f"lora_unet_{flat}.alpha": torch.tensor(2.0),
        f"lora_unet_{conv}.lora_down.weight": draw(2, 16, 3, 3, seed=2),
        f"lora_unet_{conv}.lora_up.weight": draw(16, 2, 1, 1, seed=3),
        f"lora_te_{te}.lora_down.weight": draw(2, 8, seed=4),
        f"lora_te_{te}.lora_up.weight": draw(8, 2, seed=5),
        f"lora_te_{te}.alpha": torch.tensor(1.0),
    }
    expert = read_expert(world.write("kohya", tensors), world.base)
    assert (expert.kind, expert.rank, expert.missing) == ("locon", 4, ())
    torch.testing.assert_close(expert.deltas[f"unet.{Q}.weight"].dense(), 0.5 * draw(8, 4, seed=1) @ draw(4, 8))
    x, layer = draw(1, 16, 5, 5, seed=6), expert.deltas[f"unet.{CONV}.weight"].dense()
    two_steps = torch.conv2d(torch.conv2d(x, draw(2, 16, 3, 3, seed=2), padding=1), draw(16, 2, 1, 1, seed=3))
    torch.testing.assert_close(torch.conv2d(x, layer, padding=1), two_steps, rtol=1e-4, atol=1e-4)
    expected = 0.5 * draw(8, 2, seed=5) @ draw(2, 8, seed=4)
    torch.testing.assert_close(expert.deltas[f"text_encoder.{TE}.weight"].dense(), expected)


def test_a_tucker_core_equals_its_three_convolutions(world):
    flat = CONV.replace(".", "_")
    down, mid, up = draw(2, 16, 1, 1), draw(2, 2, 3, 3, seed=1), draw(16, 2, 1, 1, seed=2)
    tensors = {f"lora_unet_{flat}.lora_{n}.weight": t for n, t in (("down", down), ("mid", mid), ("up", up))}
    delta = read_expert(world.write("tucker", tensors), world.base).deltas[f"unet.{CONV}.weight"]
    assert delta.rank == 2
    x = draw(1, 16, 5, 5, seed=3)
    three = torch.conv2d(torch.conv2d(torch.conv2d(x, down), mid, padding=1), up)
    torch.testing.assert_close(torch.conv2d(x, delta.dense(), padding=1), three, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_float_dtypes_are_widened_before_any_arithmetic(world, dtype):
    stored = {key: tensor.to(dtype) for key, tensor in pair().items()}
    delta = read_expert(world.write("narrow", stored), world.base).deltas[f"unet.{Q}.weight"]
    a, b = (tensor.to(torch.float32) for tensor in stored.values())
    assert torch.equal(delta.dense(), b @ a)


def test_scales_from_metadata(world):
    a, b = pair().values()
    for fields, scale in [
        ({}, 2.0),
        ({"use_rslora": True}, 6 / math.sqrt(3)),
        ({"alpha_pattern": {"attn1.to_q": 9}}, 3.0),
        ({"alpha_pattern": {f"^{Q}$": 9}}, 3.0),
        ({"alpha_pattern": {"to_k": 9, "q": 9}}, 2.0),
        ({"r": 8, "rank_pattern": {"to_q": 3}}, 2.0),
    ]:
        path = world.write("scaled", pair(), config(**fields))
        torch.testing.assert_close(read_expert(path, world.base).deltas[f"unet.{Q}.weight"].dense(), scale * b @ a)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "changes the base"),
        ({"modules_to_save": ["conv_in"]}, "modules_to_save"),
        ({"a_feature_of_tomorrow": 3}, "a_feature_of_tomorrow"),
        ({"bias": "all"}, "bias"),
        ({"r": 4}, "its metadata says 4"),
        ({"r": 0}, "r=0"),
        ({"r": "many"}, "r='many'"),
        ({"lora_alpha": 0}, "alpha 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
        ({"use_rslora": "yes"}, "use_rslora"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "no plain module names"),
        ({"alpha_pattern": [1]}, "malformed"),
        ({"peft_type": "LOHA"}, "LOHA"),
    ],
)
def test_metadata_that_is_not_understood_is_refused(world, fields, message):
    path = world.write("odd", pair(), config(**fields))
    with pytest.raises(ExpertError, match=message):
        read_expert(path, world.base)


@pytest.mark.parametrize("text", ["{", "[]", '{"r": 3}', '{"somewhere.r": 3}', "[" * 100_000])
def test_malformed_metadata_is_refused(world, text):
    path = world.write("odd", pair(), {"lora_adapter_metadata": text})
    with pytest.raises(ExpertError, match="lora_adapter_metadata"):
        read_expert(path, world.base)


def test_alpha_and_metadata_must_agree(world):
    alpha = {f"unet.{Q}.alpha": torch.tensor(6.0)}
    assert read_expert(world.write("agree", pair(**alpha), config()), world.base).deltas
    with pytest.raises(ExpertError, match="says scale"):
        read_expert(world.write("differ", pair(**alpha), config(lora_alpha=1)), world.base)


REFUSED = {
    "unknown key": (pair(**{"unet.conv_in.ia3_l": torch.ones(3)}), r"conv_in\.ia3_l"),
    "half a pair": ({f"unet.{Q}.lora_A.weight": torch.ones(3, 8)}, "one half"),
    "rank 0": (pair(rank=0), "rank 0"),
    "ranks differ": (
        {f"unet.{Q}.lora_A.weight": torch.ones(3, 8), f"unet.{Q}.lora_B.weight": torch.ones(8, 2)},
        "rank",
    ),
    "other family": (
        {f"unet.{Q}.lora_A.weight": torch.ones(3, 9), f"unet.{Q}.lora_B.weight": torch.ones(8, 3)},
        "family",
    ),
    "one dimension": (
        {f"unet.{Q}.lora_A.weight": torch.ones(8), f"unet.{Q}.lora_B.weight": torch.ones(8, 1)},
        "no LoRA",
    ),
    "alpha 0": (pair(**{f"unet.{Q}.alpha": torch.tensor(0.0)}), "alpha 0"),
    "alpha vector": (pair(**{f"unet.{Q}.alpha": torch.ones(3)}), "not one number"),
    "integers": ({f"unet.{Q}.lora_{x}.weight": torch.ones(8, 8, dtype=torch.int32) for x in "AB"}, "I32"),
    "infinite": ({f"unet.{Q}.lora_{x}.weight": torch.full((8, 8), math.inf) for x in "AB"}, "NaN or infinite"),
    "overflow": (
        {f"unet.{Q}.lora_{x}.weight": torch.full((8, 8), 3e38) for x in "AB"} | {f"unet.{Q}.alpha": torch.tensor(1e9)},
        "overflows",
    ),
    "two names": (pair(**{f"unet.{Q}.lora.up.weight": torch.ones(8, 3)}), "two keys"),
    "two prefixes": (pair(**{f"{Q}.lora_{x}.weight": torch.ones(8, 8) for x in "AB"}), "two adapters"),
    "lost config": ({f"base_model.model.{Q}.lora_{x}.weight": torch.ones(8, 8) for x in "AB"}, "adapter_config"),
    "flat nowhere": ({f"lora_unet_nowhere.lora_{x}.weight": torch.ones(8, 8) for x in ("up", "down")}, "flat layout"),
    "embedding": ({"emb_params": torch.ones(2, 8)}, "textual_inversion: it adds tokens"),
    "single file of another size": ({"model.diffusion_model.out.2.weight": torch.ones(2, 8)}, "does not fit"),
    "single file of another kind": ({"model.diffusion_model.out.3.weight": torch.ones(2, 8)}, "base lacks"),
    "cut checkpoint": ({"conv_in.weight": torch.ones(8, 4, 3, 3)}, "no full checkpoint"),
    "foreign checkpoint": (
        {"conv_in.weight": torch.ones(8, 4, 3, 3), "down_blocks.9.x.weight": torch.ones(1)},
        "lacks",
    ),
    "misshapen checkpoint": ({"conv_in.weight": torch.ones(9, 4, 3, 3)}, "does not fit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_file_and_the_keys(world, case):
    tensors, message = REFUSED[case]
    path = world.write("bad", tensors)
    with pytest.raises(ExpertError, match=message) as caught:
        read_expert(path, world.base)
    assert caught.value.path == str(path)
    assert caught.value.keys


def test_a_kind_that_the_graph_got_wrong_is_refused(world):
    with pytest.raises(ExpertError, match="is a lora, not the checkpoint"):
        read_expert(world.paths["owl"], world.base, "checkpoint")


def test_a_checkpoint_that_equals_the_base_or_has_nan_is_refused(world):
    world.checkpoint("same", lambda key, t: t)
    with pytest.raises(ExpertError, match="equals the base"):
        read_expert(world.paths["same"], world.base)
    world.checkpoint("nan", lambda key, t: t * float("nan") if key == "conv_in.bias" else t)
    with pytest.raises(ExpertError, match="NaN") as caught:
        read_expert(world.paths["nan"], world.base)
    assert caught.value.keys == ("conv_in.bias",)


def test_a_sharded_checkpoint_is_read_whole(world):
    from diffusers import UNet2DConditionModel

    folder = world.root / "sharded"
    unet = UNet2DConditionModel.from_pretrained(world.paths["tuned"] / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="50KB")
    assert len(list(folder.glob("unet/*.safetensors"))) > 1
    whole, shards = (read_expert(path, world.base) for path in (world.paths["tuned"], folder))
    assert set(whole.deltas) == set(shards.deltas)
    assert all(torch.equal(whole.deltas[t].dense(), shards.deltas[t].dense()) for t in whole.deltas)


def test_folders_without_an_obvious_file_are_refused(world, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ExpertError, match="no safetensors file"):
        read_expert(empty, world.base)
    for name in ("a", "b"):
        (empty / f"{name}.safetensors").write_bytes(b"")
    with pytest.raises(ExpertError, match="several"):
        read_expert(empty, world.base)
    pickles = tmp_path / "pickles"
    pickles.mkdir()
    (pickles / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ExpertError, match="pickles only"):
        read_expert(pickles, world.base)
