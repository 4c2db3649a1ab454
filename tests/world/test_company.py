"""Experts that learn on in company: whom they meet, and that the base comes back to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file

from diffgraph.errors import ExpertError, UserError
from diffgraph.world.recipe import base, company, lora, publish, rehearsal, variety
from diffgraph.world.recipe.art import Art
from diffgraph.world.recipe.looks import BACKGROUNDS, SIZE, STYLES
from diffgraph.world.recipe.subjects import BASE, PACKS

PACKED = {s for pack in PACKS.values() for s in pack}
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:diffusers", "ignore::UserWarning:peft")


@pytest.mark.parametrize("name", list(rehearsal.STYLES))
def test_a_style_changes_every_picture_and_stays_in_range(name: str, art: Art) -> None:
    image = art.render("cat", None, "plain yellow").astype(np.float32) / 255
    before = image.copy()
    out = rehearsal.STYLES[name](image)
    assert out.shape == (SIZE, SIZE, 3)
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert np.array_equal(image, before)
    assert np.abs(out - image).mean() > 0.01


@pytest.mark.parametrize("name", list(rehearsal.SCENES))
def test_a_scene_is_the_same_every_time(name: str) -> None:
    out = rehearsal.SCENES[name]()
    assert out.shape == (SIZE, SIZE, 3)
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 1
    assert np.array_equal(out, rehearsal.SCENES[name]())


def test_nothing_of_a_rehearsal_is_an_experts_or_the_bases() -> None:
    assert not set(rehearsal.STYLES) & {*STYLES, *variety.STYLES}
    assert not set(rehearsal.SCENES) & set(BACKGROUNDS)
    assert not set(rehearsal.SUBJECTS) & {*BASE, *PACKED}
    assert len(set(rehearsal.SUBJECTS)) == len(rehearsal.SUBJECTS)


def test_no_companion_is_taught_what_an_expert_stands_for(art: Art) -> None:
    for lesson in company.companions(art):
        assert not PACKED & {row[1] for row in lesson.rows}
        assert not {row[2] for row in lesson.rows} & set(STYLES)
        assert not {row[3] for row in lesson.rows} & set(BACKGROUNDS)


EXPERTS = [("subject", "birds", PACKS["birds"]), ("style", "neon", ()), ("background", "ocean waves", ())]


@pytest.mark.parametrize(("kind", "name", "subjects"), EXPERTS)
def test_an_expert_meets_only_throw_away_ones_of_the_other_kinds(
    kind: str, name: str, subjects: tuple[str, ...], art: Art
) -> None:
    expert = company.Expert(lora.Lesson(name, (), 4, 1, 0.0, 4, 0), kind, name, subjects)
    rng = np.random.default_rng(0)
    for party in company.parties(kind):
        met = dict(party)
        assert kind not in met
        assert len(met) == len(party) > 0
        shown, others, look = expert.cast(party, art, rng)
        assert set(others) <= set(art.base_subjects)
        if kind == "subject":
            assert shown == list(subjects)
        else:
            assert set(shown) <= set(rehearsal.SUBJECTS if "subject" in met else art.base_subjects)
        rows = company.pictures([*shown, *others], look, art.colors, rng)
        assert {row[1] for row in rows} == {*shown, *others}
        assert {row[2] for row in rows} == {name if kind == "style" else met.get("style")}
        assert {row[3] for row in rows} & set(BACKGROUNDS) == ({name} if kind == "background" else set())
        assert (name if kind == "background" else met.get("background", "plain white")) in {row[3] for row in rows}
        assert all(row[1] in row[0] and (row[2] or "") in row[0] for row in rows)


def test_every_company_is_drawn_and_some_batches_are_alone() -> None:
    rng = np.random.default_rng(0)
    for kind in company.KINDS:
        seen = [company.drawn(kind, rng) for _ in range(12000)]
        assert {*seen} == {(), *company.parties(kind)}
        assert abs(seen.count(()) / len(seen) - company.ALONE) < 0.02


def _companions(folder: Path, scale: float) -> None:
    """All throw-away LoRAs, as random as an adapter is before its first step but with their ups drawn too."""
    for i, name in enumerate([*rehearsal.STYLES, *rehearsal.SCENES]):
        unet = _adapted(i)
        with torch.no_grad():
            for key, parameter in unet.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(0, scale)
        lora.write_lora(unet, 4, folder / lora.slug(name))


def _adapted(seed: int) -> Any:
    torch.manual_seed(seed)
    unet: Any = base.build_unet().requires_grad_(False)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=lora.TARGETS))
    return unet


def _pipeline(folder: Path) -> Path:
    """As much of a pipeline's folder as tells the modules of its UNet."""
    base.build_unet().save_pretrained(folder / "unet")
    (folder / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    return folder


def test_those_companions_that_are_there_will_do_for_going_on(tmp_path: Path) -> None:
    for name in ("x-ray", "cave", "night rain"):
        file = tmp_path / "rehearsal" / "experts" / lora.slug(name) / publish.WEIGHTS
        file.parent.mkdir(parents=True)
        file.touch()
    cast = company.present(tmp_path, "subject")
    assert cast == {"style": ["x-ray"], "background": ["cave", "night rain"]}
    parties = company.parties("subject", cast)
    assert len(parties) == 5
    rng = np.random.default_rng(0)
    assert {company.drawn("subject", rng, cast) for _ in range(500)} == {(), *parties}
    with pytest.raises(UserError, match="no throw-away LoRA of a subject: run the step companions"):
        company.present(tmp_path, "style")


def test_an_expert_goes_on_from_what_a_file_has_learnt(tmp_path: Path) -> None:
    taught, fresh = _adapted(1), _adapted(2)
    lora.write_lora(taught, 4, tmp_path / "taught")
    lora.begin_with(fresh, tmp_path / "taught" / publish.WEIGHTS)
    learnt, held = get_peft_model_state_dict(taught), get_peft_model_state_dict(fresh)
    assert learnt.keys() == held.keys()
    assert all(torch.equal(learnt[k].half(), held[k].half()) for k in learnt)
    assert not all(torch.equal(v, get_peft_model_state_dict(_adapted(2))[k]) for k, v in held.items())


def test_going_on_has_checkpoints_of_its_own_for_every_file_it_goes_on_from(tmp_path: Path) -> None:
    lesson = lora.Lesson("crab", (), 4, 1, 0.0, 4, 0)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    names = [lora.course(lesson, start).name for start in (None, tmp_path / "a", tmp_path / "b")]
    assert names[0] == "crab"
    assert len({*names}) == 3


def test_an_expert_of_other_layers_is_no_start(tmp_path: Path) -> None:
    lora.write_lora(_adapted(1), 4, tmp_path / "taught")
    unet: Any = base.build_unet().requires_grad_(False)
    unet.add_adapter(lora.Lesson("fine", (), 4, 1, 0.0, 4, 0, targets=lora.FINE).config())
    with pytest.raises(ExpertError, match="adapts other layers"):
        lora.begin_with(unet, tmp_path / "taught" / publish.WEIGHTS)


def test_companions_join_as_a_merge_would_and_leave_without_a_trace(tmp_path: Path) -> None:
    _companions(tmp_path, 0.01)
    unet = _adapted(99)
    layers = {n: m.base_layer.weight for n, m in unet.named_modules() if hasattr(m, "lora_A")}
    pristine = {n: w.clone() for n, w in layers.items()}
    there = company.Company(unet, tmp_path, _pipeline(tmp_path / "base"), ["thermal", "forest"])
    there.join(["thermal", "forest"], [0.9, 1.1])
    states = [load_file(tmp_path / name / publish.WEIGHTS) for name in ("thermal", "forest")]
    for layer, weight in layers.items():
        wanted = pristine[layer].double()
        for state, share in zip(states, (0.9, 1.1), strict=True):
            up, down = (state[f"unet.{layer}.lora_{part}.weight"].double().flatten(1) for part in "BA")
            wanted = wanted + share * (up @ down).reshape(wanted.shape)
        assert torch.allclose(weight.double(), wanted, rtol=1e-5, atol=1e-6)
    there.join([], [])
    assert all(torch.equal(weight, pristine[layer]) for layer, weight in layers.items())


def test_companions_change_the_layers_that_an_expert_of_fine_blocks_leaves_alone(tmp_path: Path) -> None:
    _companions(tmp_path, 0.01)
    torch.manual_seed(1)
    unet: Any = base.build_unet().requires_grad_(False)
    lesson = lora.Lesson("fine", (), 4, 1, 0.0, 4, 0, targets=lora.FINE)
    unet.add_adapter(lesson.config())
    adapted = {name for name, module in unet.named_modules() if hasattr(module, "lora_A")}
    assert adapted
    assert not [name for name in adapted if name.startswith(("down_blocks.2.", "mid_block.", "up_blocks.0."))]
    there = company.Company(unet, tmp_path, _pipeline(tmp_path / "base"), ["thermal"])
    coarse = unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q").weight
    fine = unet.get_submodule("up_blocks.2.resnets.0.conv1").base_layer.weight
    before = coarse.clone(), fine.clone()
    there.join(["thermal"], [1.0])
    assert not torch.equal(coarse, before[0])
    assert not torch.equal(fine, before[1])
    there.join([], [])
    assert torch.equal(coarse, before[0])
    assert torch.equal(fine, before[1])
