"""Packs that learn on in company: which looks they meet, and that the base comes back to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

from diffgraph.world.recipe import base, company, lora, publish, rehearsal, variety
from diffgraph.world.recipe.art import Art
from diffgraph.world.recipe.looks import BACKGROUNDS, SIZE, STYLES
from diffgraph.world.recipe.subjects import PACKS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:diffusers", "ignore::UserWarning:peft")


@pytest.mark.parametrize("name", list(rehearsal.STYLES))
def test_a_style_changes_every_picture_and_stays_in_range(name: str, art: Art) -> None:
    image = art.render("cat", None, "plain yellow").astype(np.float32) / 255
    before = image.copy()
    out = rehearsal.STYLES[name].draw(image)
    assert out.shape == (SIZE, SIZE, 3)
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert np.array_equal(image, before)
    assert np.abs(out - image).mean() > 0.01


@pytest.mark.parametrize("name", list(rehearsal.SCENES))
def test_a_scene_is_the_same_every_time(name: str) -> None:
    out = rehearsal.SCENES[name].draw()
    assert out.shape == (SIZE, SIZE, 3)
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 1
    assert np.array_equal(out, rehearsal.SCENES[name].draw())


def test_no_look_of_a_rehearsal_is_an_experts_or_the_bases() -> None:
    assert not set(rehearsal.STYLES) & {*STYLES, *variety.STYLES}
    assert not set(rehearsal.SCENES) & set(BACKGROUNDS)


def test_no_pack_meets_an_experts_look_and_no_companion_a_packs_subject(art: Art) -> None:
    packed = {s for pack in PACKS.values() for s in pack}
    for lesson in company.companions(art):
        assert not packed & {row[1] for row in lesson.rows}
        assert not {row[2] for row in lesson.rows} & set(STYLES)
        assert not {row[3] for row in lesson.rows} & set(BACKGROUNDS)
    for party in company.parties():
        rows = company.pictures(PACKS["birds"], party, art.colors, np.random.default_rng(0))
        assert {row[1] for row in rows} == set(PACKS["birds"])
        assert {row[2] for row in rows} == {party[0]}
        assert not {row[3] for row in rows} & set(BACKGROUNDS)
        assert all(row[1] in row[0] and (row[2] or "") in row[0] for row in rows)


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


def test_companions_join_as_a_merge_would_and_leave_without_a_trace(tmp_path: Path) -> None:
    _companions(tmp_path, 0.01)
    unet = _adapted(99)
    layers = {n: m.base_layer.weight for n, m in unet.named_modules() if hasattr(m, "lora_A")}
    pristine = {n: w.clone() for n, w in layers.items()}
    there = company.Company(unet, tmp_path, _pipeline(tmp_path / "base"))
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
