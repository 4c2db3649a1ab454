"""Alpha that stands only in a file's metadata: the right scale against a dense float64 product, or a sentence."""

from __future__ import annotations

import json
import math

import pytest
import torch

from diffgraph.errors import ExpertError
from diffgraph.merging.engine.stream import FileMerge
from diffgraph.merging.formats.read import read_expert
from diffgraph.merging.plan.check import check

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TE = "encoder.layers.1.self_attn.q_proj"
FLAT = f"lora_unet_{Q.replace('.', '_')}"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def peft(rank=8, name=f"unet.{Q}"):
    return {f"{name}.lora_A.weight": draw(rank, 16), f"{name}.lora_B.weight": draw(16, rank, seed=1)}


def kohya(rank=8):
    return {f"{FLAT}.lora_down.weight": draw(rank, 16), f"{FLAT}.lora_up.weight": draw(16, rank, seed=1)}


@pytest.fixture(autouse=True)
def sizes(world):
    assert world.base.shape(f"unet.{Q}.weight") == (16, 16)


def scaled(world, tensors, metadata, scale):
    """Whether reading, streaming and the check all see ``scale`` times the product, in float64."""
    path = world.write("stated", tensors, metadata)
    down, up = (tensor.double() for tensor in list(tensors.values())[:2])
    right = scale * (up @ down)
    expert = read_expert(path, world.base)
    read = expert.deltas[f"unet.{Q}.weight"].dense().double()
    plan = world.plan(world.expert("stated"))
    report = check(plan, world.base, world.locate)
    assert report.ok, report.sentences()
    assert report.experts[0].notes == expert.notes
    streamed = FileMerge(plan, world.base, world.locate).delta(f"unet.{Q}.weight").dense().double()
    assert float((read - right).norm() / right.norm()) < 1e-6
    assert float((streamed - right).norm() / right.norm()) < 1e-6
    return expert.notes


@pytest.mark.parametrize(
    ("metadata", "scale"),
    [
        ({"alpha": "1"}, 1 / 8),
        ({"lora_alpha": "4.0"}, 1 / 2),
        ({"network_alpha": "16"}, 2),
        ({"alpha": "1", "rank": "8"}, 1 / 8),
        ({"alpha": '"1"'}, 1 / 8),
        ({"unet.lora_alpha": "2", "unet.r": "8", "text_encoder.lora_alpha": "8"}, 1 / 4),
        ({"lora_alpha": "4", "use_rslora": "true"}, 4 / math.sqrt(8)),
        ({"lora_adapter_metadata": '{"lora_alpha": 1, "r": 8}'}, 1 / 8),
        ({"lora_adapter_metadata": '{"lora_alpha": 1}'}, 1 / 8),
        ({"lora_adapter_metadata": '{"unet": {"lora_alpha": 2, "r": 8}}'}, 1 / 4),
        ({"adapter_config": '{"peft_type": "LORA", "lora_alpha": 1, "r": 8, "use_rslora": true}'}, 1 / math.sqrt(8)),
        ({"adapter_config": '{"lora_alpha": 1, "r": 8}', "alpha": "1"}, 1 / 8),
        ({"alpha": "none"}, 1),
        ({}, 1),
    ],
)
def test_what_metadata_states_is_the_scale(world, metadata, scale):
    notes = scaled(world, peft(), metadata, scale)
    assert bool(notes) == (scale != 1 and "lora_adapter_metadata" not in metadata)  # diffusers' own entry is usual
    assert all("taken from there" in note for note in notes)


@pytest.mark.parametrize(
    ("tensors", "metadata", "scale", "why"),
    [
        (kohya(), {"ss_network_alpha": "2", "ss_network_dim": "8"}, 1 / 4, "taken from there"),
        (peft(), {"ss_network_alpha": "2", "ss_network_dim": "8"}, 1, "is not taken"),
        (kohya(), {"ss_network_alpha": "2", "ss_network_dim": "32"}, 1, "is not taken"),
        (kohya(), {"ss_network_alpha": "None", "ss_network_dim": "8"}, 1, "is not taken"),
        (kohya(), {"ss_network_alpha": "2"}, 1, "is not taken"),
        (kohya() | {f"{FLAT}.alpha": torch.tensor(4.0)}, {"ss_network_alpha": "2", "ss_network_dim": "8"}, 1 / 2, ""),
        (kohya() | {f"{FLAT}.alpha": torch.tensor(4.0)}, {"alpha": "2"}, 1 / 2, ""),
    ],
)
def test_kohyas_entry_counts_by_evidence_only(world, tensors, metadata, scale, why):
    notes = scaled(world, tensors, metadata, scale)
    assert [why in note for note in notes] == ([True] if why else [])


def test_every_module_has_its_own_rank_beneath_one_alpha(world):
    tensors = peft(8) | {
        f"text_encoder.{TE}.lora_A.weight": draw(2, 8, seed=3),
        f"text_encoder.{TE}.lora_B.weight": draw(8, 2, seed=4),
    }
    scaled(world, tensors, {"alpha": "4", "rank": "2"}, 1 / 2)
    expert = read_expert(world.paths["stated"], world.base)
    right = 2 * draw(8, 2, seed=4).double() @ draw(2, 8, seed=3).double()
    assert torch.allclose(expert.deltas[f"text_encoder.{TE}.weight"].dense().double(), right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["hada", "lokr"])
def test_other_algorithms_take_it_as_well(world, name):
    if name == "hada":
        parts = {"w1_a": (16, 4), "w1_b": (4, 16), "w2_a": (16, 4), "w2_b": (4, 16)}
    else:
        parts = {"w1": (4, 4), "w2_a": (4, 2), "w2_b": (2, 4)}
    stored = {f"{FLAT}.{name}_{part}": draw(*shape, seed=i) for i, (part, shape) in enumerate(parts.items())}
    t = [tensor.double() for tensor in stored.values()]
    right = (t[0] @ t[1]) * (t[2] @ t[3]) / 4 if name == "hada" else torch.kron(t[0], t[1] @ t[2]) / 2
    read = read_expert(world.write("other", stored, {"alpha": "1"}), world.base).deltas[f"unet.{Q}.weight"]
    assert float((read.dense().double() - right).norm() / right.norm()) < 1e-6


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"alpha": "strong"}, "alpha='strong'.* no number"),
        ({"lora_alpha": "nan"}, "no number"),
        ({"lora_alpha": "[1]"}, "no number"),
        ({"alpha": "9" * 5000}, "no number|overflows|no alpha"),
        ({"alpha": "0"}, "no alpha"),
        ({"alpha": "-1"}, "no alpha"),
        ({"alpha": "1", "lora_alpha": "8"}, "different things"),
        ({"alpha": "1", "rank": "16"}, "no tensor has it"),
        ({"alpha": "1", "adapter_config": '{"lora_alpha": 4, "r": 8}'}, "two alphas"),
        ({"adapter_config": '{"lora_alpha": 4}', "lora_adapter_metadata": '{"lora_alpha": 8}'}, "different things"),
        ({"adapter_config": '{"lora_alpha": 4, "r": 8, "a_feature_of_tomorrow": 1}'}, "a_feature_of_tomorrow"),
        ({"adapter_config": "{"}, "not JSON"),
        ({"lora_adapter_metadata": json.dumps({"r": 8})}, "lora_alpha=None"),
    ],
)
def test_what_metadata_leaves_unclear_is_refused_in_check_and_merge(world, metadata, message):
    path = world.write("unclear", peft(), metadata)
    with pytest.raises(ExpertError, match=message):
        read_expert(path, world.base)
    report = check(world.plan(world.expert("unclear")), world.base, world.locate)
    assert not report.ok
