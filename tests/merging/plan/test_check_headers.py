"""What a header shows, the check of a plan refuses as the merge does; and what lies beside it is read by both."""

from __future__ import annotations

import json

import pytest
import torch

from diffgraph.errors import ExpertError
from diffgraph.merging.engine.stream import FileMerge
from diffgraph.merging.formats.read import read_expert
from diffgraph.merging.plan.check import check

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
FLAT = f"lora_unet_{Q.replace('.', '_')}"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(rank=4, stem=f"unet.{Q}", **more):
    halves = {f"{stem}.lora_A.weight": draw(rank, 16), f"{stem}.lora_B.weight": draw(16, rank, seed=1)}
    return halves | {f"{stem}.{key}": value for key, value in more.items()}


def config(**fields):
    return {
        "lora_adapter_metadata": json.dumps({f"unet.{k}": v for k, v in ({"r": 4, "lora_alpha": 8} | fields).items()})
    }


def integers(tensors):
    return {key: torch.ones(tensor.shape, dtype=torch.int32) for key, tensor in tensors.items()}


CASES = {
    "PEFT's names without their configuration": (pair(stem=f"base_model.model.{Q}"), {}, "adapter_config.json"),
    "integers": (integers(pair()), {}, "I32"),
    "alpha of several values": (pair(alpha=torch.ones(2)), {}, "not one number"),
    "alpha of truth values": (pair(alpha=torch.tensor(True)), {}, "BOOL"),
    "another rank": (pair(), config(r=8), "its metadata says 8"),
    "another rank by pattern": (pair(), config(rank_pattern={"to_q": 2}), "its metadata says 2"),
    "patterns that are expressions": (pair(), config(alpha_pattern={"(a|b)+": 2}), "no plain module names"),
    "another type": (pair(), config(peft_type="LOHA", alpha=8), "LOHA"),
    "DoRA said, LoRA there": (pair(), config(use_dora=True), "use_dora"),
    "a feature of tomorrow": (pair(), config(a_feature_of_tomorrow=1), "a_feature_of_tomorrow"),
    "alpha 0 by configuration": (pair(), config(lora_alpha=0), "alpha 0"),
    "malformed metadata": (pair(), {"lora_adapter_metadata": "{"}, "not JSON"),
    "OFT by PEFT without configuration": ({f"unet.{Q}.oft_R.weight": draw(4, 6)}, {}, "without its configuration"),
    "OFT that shares a block unsaid": (
        {f"unet.{Q}.oft_R.weight": draw(1, 6)},
        {"lora_adapter_metadata": json.dumps({"unet.peft_type": "OFT", "unet.r": 1, "unet.block_share": False})},
        "shares one block",
    ),
    "a checkpoint of integers": ({"conv_in.weight": torch.ones(8, 4, 3, 3, dtype=torch.int32)}, {}, "I32"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_check_refuses_what_a_header_shows(world, case):
    tensors, metadata, message = CASES[case]
    path = world.write("odd", tensors, metadata)
    plan = world.plan(world.expert("odd"))
    report = check(plan, world.base, world.locate)
    assert [problem.code for problem in report.problems if problem.fatal] == ["file"]
    with pytest.raises(ExpertError, match=message) as caught:
        read_expert(path, world.base)
    assert str(caught.value) in report.sentences()
    with pytest.raises(ExpertError, match=message):
        FileMerge(plan, world.base, world.locate)


def close(delta, right):
    return float((delta.dense().double() - right).norm() / right.norm()) < 1e-6


@pytest.mark.parametrize(
    ("fields", "scale"),
    [({}, 2.0), ({"use_rslora": True}, 4.0), ({"alpha_pattern": {"attn1.to_q": 2}}, 0.5), ({"lora_alpha": 1}, 0.25)],
)
def test_pefts_file_is_read_with_the_configuration_beside_it(world, fields, scale):
    folder = world.root / "peft"
    folder.mkdir()
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": False, "bias": "none", "task_type": None} | fields
    (folder / "adapter_config.json").write_text(json.dumps(said))
    path = world.write("peft/adapter_model", pair(stem=f"base_model.model.{Q}"))
    world.add("peft", path)
    up, down = draw(16, 4, seed=1).double(), draw(4, 16).double()
    assert close(read_expert(path, world.base).deltas[f"unet.{Q}.weight"], scale * (up @ down))
    plan = world.plan(world.expert("peft"))
    report = check(plan, world.base, world.locate)
    assert report.ok
    assert "adapter_config.json" in report.sentences()
    assert close(FileMerge(plan, world.base, world.locate).delta(f"unet.{Q}.weight"), scale * (up @ down))


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"r": 4, "lora_alpha": 8, "tomorrow": 1}), "\udcff"])
def test_a_configuration_beside_that_is_not_understood_is_refused(world, text):
    folder = world.root / "peft"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    world.add("peft", world.write("peft/adapter_model", pair(stem=f"base_model.model.{Q}")))
    assert "adapter_config.json" in check(world.plan(world.expert("peft")), world.base, world.locate).sentences()
    with pytest.raises(ExpertError, match=r"adapter_config\.json"):
        read_expert(world.paths["peft"], world.base)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bfloat16])
def test_alpha_may_be_an_integer(world, dtype):
    path = world.write("whole", pair(alpha=torch.tensor(2, dtype=dtype)))
    right = 0.5 * (draw(16, 4, seed=1).double() @ draw(4, 16).double())
    assert check(world.plan(world.expert("whole")), world.base, world.locate).ok
    assert close(read_expert(path, world.base).deltas[f"unet.{Q}.weight"], right)


def test_infinite_alpha_is_ignored_where_alpha_has_no_say(world):
    """LyCORIS writes alpha 10^10 beside whole Kronecker factors, which is infinity in float16."""
    infinite = torch.tensor(float("inf"), dtype=torch.float16)
    stored = {f"{FLAT}.lokr_w1": draw(4, 4), f"{FLAT}.lokr_w2": draw(4, 4, seed=1), f"{FLAT}.alpha": infinite}
    path = world.write("kron", stored)
    right = torch.kron(draw(4, 4).double(), draw(4, 4, seed=1).double())
    assert close(read_expert(path, world.base).deltas[f"unet.{Q}.weight"], right)
    with pytest.raises(ExpertError, match="NaN or infinite"):
        read_expert(world.write("lora", pair(alpha=infinite)), world.base)
