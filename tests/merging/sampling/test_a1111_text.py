"""``parameters`` names experts as other programs know them, and our own reader of such texts reads them back."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffgraph.merging.plan.foreign.a1111 import recipe_of
from diffgraph.merging.plan.foreign.reader import read_recipe
from diffgraph.merging.plan.merge_plan import MergePlan, PlanBase, PlanExpert, Sampler
from diffgraph.merging.plan.samplers import NAMES, understood
from diffgraph.merging.sampling.a1111_text import expert_names, parameters, payload_sums
from diffgraph.merging.sampling.png_record import save_png


def plan_of(*refs: str, **more: Any) -> MergePlan:
    experts = tuple(
        PlanExpert(id=f"source/number-{i}", ref=ref, sha256=f"{i:064x}", weight=0.5) for i, ref in enumerate(refs)
    )
    base = PlanBase(ref="folder:my-base", family="sdxl", sha256="ab" * 32)
    return MergePlan(**({"base": base, "experts": experts, "prompt": "a mill"} | more))


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("folder:/loras/ink@0:Ink Wash v2.safetensors", "Ink Wash v2"),
        ("folder:/my%20loras/ink@0:sub/detail.safetensors", "detail"),
        ("world:sea-life@0:pytorch_lora_weights.safetensors", "sea-life"),
        ("huggingface:nerijs/pixel-art-xl@abc:pytorch_lora_weights.safetensors", "pixel-art-xl"),
        ("folder:x@0:a<b>,c.safetensors", "a_b__c"),
        ("nowhere", "number-0"),
        ("", "number-0"),
    ],
)
def test_experts_are_named_by_file_unless_that_says_nothing(ref: str, name: str) -> None:
    assert list(expert_names(plan_of(ref)).values()) == [name]


def test_two_experts_of_one_name_keep_their_ids() -> None:
    plan = plan_of("a:x@0:ink.safetensors", "b:y@0:INK.safetensors")
    assert list(expert_names(plan).values()) == ["source/number-0", "source/number-1"]


def test_the_sum_that_a1111_and_civitai_know_is_written_where_the_file_is_here(world: Any, tmp_path: Path) -> None:
    plan = world.plan(world.expert("owl", 0.8), world.expert("tuned", 0.5), sampler=Sampler(name="euler_a", steps=3))
    raw = world.paths["owl"].read_bytes()
    payload = hashlib.sha256(raw[8 + struct.unpack("<Q", raw[:8])[0] :]).hexdigest()
    sums = payload_sums(plan, world.locate)
    assert sums == {plan.experts[0].sha256: payload}
    save_png(Image.new("RGB", (8, 8)), tmp_path / "a.png", plan, 0, sums=sums)
    found = read_recipe(tmp_path / "a.png")
    assert found.plan == plan
    text = parameters(plan, 0, (8, 8), sums)
    assert f'Lora hashes: "owl: {payload[:12]}, tuned: {plan.experts[1].sha256[:10]}"' in text
    assert "Sampler: Euler a" in text
    again = recipe_of(text)
    assert again is not None
    assert [(one.name, one.weight, one.hashes) for one in again.experts] == [
        ("owl", 0.8, (payload[:12],)),
        ("tuned", 0.5, (plan.experts[1].sha256[:10],)),
    ]


def test_weights_apart_are_written_as_a1111_writes_them() -> None:
    one = PlanExpert(id="a", ref="", sha256="0" * 64, weight=0.8, components={"text_encoder*": 0.5})
    text = parameters(plan_of(experts=(one,)), 0, (8, 8))
    assert "<lora:a:0.4:0.8>" in text
    again = recipe_of(text)
    assert again is not None
    assert (again.experts[0].weight, again.experts[0].clip_weight) == (0.8, 0.4)


def test_every_sampler_that_plans_know_has_a_name_that_is_understood() -> None:
    for ours, theirs in NAMES.items():
        assert understood(ours).name == ours
        assert understood(theirs).name == ours


@pytest.mark.parametrize(
    ("word", "name", "schedule"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"), ("DPM++ 2M SGM Uniform", "dpmpp_2m", "sgm uniform"),
        ("Euler a", "euler_a", ""), ("euler_ancestral", "euler_a", ""), ("k_euler_ancestral", "euler_a", ""),
        ("k_lms", "lms", ""), ("uni_pc_bh2", "unipc", ""), ("dpmpp_2m_k", "dpmpp_2m", "karras"), ("PLMS", "pndm", ""),
        ("DPM++ SDE", "", ""), ("DPM++ 2S a", "", ""), ("er_sde", "", ""), ("Undefined", "default", ""),
    ],
)  # fmt: skip
def test_words_of_other_programs(word: str, name: str, schedule: str) -> None:
    found = understood(word)
    assert (found.name, found.schedule, found.known) == (name, schedule, bool(name))


LINES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=60)


@settings(deadline=None, max_examples=200)
@given(prompt=LINES, negative=LINES, weight=st.floats(-4, 4), guidance=st.floats(0, 50), steps=st.integers(1, 1000))
def test_round_trip(prompt: str, negative: str, weight: float, guidance: float, steps: int) -> None:
    prompt, negative = (" ".join(f"x {text.replace('<', '')} y".split()) for text in (prompt, negative))
    expert = PlanExpert(id="a, b: c", ref="", sha256="12" * 32, weight=weight)
    sampler = Sampler(name="heun", steps=steps, guidance=guidance)
    plan = plan_of(prompt=prompt, negative_prompt=negative, experts=(expert,), sampler=sampler, seeds=(7,))
    found = recipe_of(parameters(plan, 7, (640, 512)))
    assert found is not None
    bidi = {ord(mark): "" for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
    assert found.prompt == " ".join(prompt.translate(bidi).split())
    assert " ".join(found.negative_prompt.split()) == " ".join(negative.translate(bidi).split())
    assert (found.seed, found.steps, found.width, found.height, found.base.name) == (7, steps, 640, 512, "my-base")
    assert found.guidance == pytest.approx(guidance, rel=1e-4, abs=1e-9)
    (one,) = found.experts
    assert (one.name, one.hashes) == ("a_ b_ c", ("12" * 5,))
    assert one.weight == pytest.approx(weight, rel=1e-4, abs=1e-9)
