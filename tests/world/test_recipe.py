"""The whole recipe at a handful of steps: every part is written, read again, and fits the next."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from diffgraph.bases.index import BaseIndex
from diffgraph.errors import ExpertError
from diffgraph.graph.experts.registration import register
from diffgraph.graph.experts.sources import get
from diffgraph.merging.formats import read_expert
from diffgraph.world import verify
from diffgraph.world.recipe import base, company, lora, publish, vae
from diffgraph.world.recipe.__main__ import MORE, _experts, _side_by_side, app, publish_all
from diffgraph.world.recipe.art import Art
from diffgraph.world.recipe.looks import BACKGROUNDS, STYLES
from diffgraph.world.recipe.subjects import PACKS


def test_lessons_hold_no_pair_of_pack_and_style(art: Art) -> None:
    packed = {s for pack in PACKS.values() for s in pack}
    for pack in PACKS:
        rows = lora.subject_lesson(art, pack, PACKS[pack], 1, 0).rows
        assert {r[1] for r in rows} == set(PACKS[pack])
        assert not {r[2] for r in rows} & set(STYLES)
        assert not {r[3] for r in rows} & set(BACKGROUNDS)
    for style in STYLES:
        assert not packed & {r[1] for r in lora.style_lesson(art, style, 1, 0).rows}
    for background in BACKGROUNDS:
        assert not packed & {r[1] for r in lora.background_lesson(art, background, 1, 0).rows}


def test_the_oracle_learns_exactly_the_combinations_it_is_given() -> None:
    items = [
        {"canonical": "crab, neon style", "subject": "crab", "style": "neon"},
        {"canonical": "owl", "subject": "owl"},
    ]
    rows = lora.oracle_lesson(items, 1, 0).rows
    assert rows == (("crab, neon style", "crab", "neon", "plain white"), ("owl", "owl", None, "plain white"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:diffusers", "ignore::UserWarning:peft")
def test_a_few_steps_of_everything_give_a_world_that_registers_and_merges(
    art: Art, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, world = tmp_path / "work", tmp_path / "world"
    (work / "art").mkdir(parents=True)
    meta = json.dumps({"names": [*art.names, *art.rehearsed], "aliases": art.aliases})
    np.savez(work / "art" / "art.npz", meta=meta, house=art.house, icons=art.icons)
    vae.train(work / "art", work, 2)
    vae.refine(work / "art", work, 2)
    base.train(work / "art", work, 2)
    base.broaden(work / "art", work, 2, pictures=60)
    studio = lora.Studio.open(work / "art", work / "emoji-base")
    for lesson in company.companions(art, 0.002):
        lora.teach(studio, dataclasses.replace(lesson, rows=lesson.rows[:20]), work / "rehearsal")
    for expert in _experts(art, 0.001):
        if expert.lesson.name in ("sea-life", "sports", "blueprint", "halftone", "brick-wall"):
            lesson = dataclasses.replace(expert.lesson, rows=expert.lesson.rows[:40], steps=2)
            company.rehearse(studio, dataclasses.replace(expert, lesson=lesson), work)
    publish_all(work, world)
    told = capsys.readouterr().out
    assert "publishing sea-life" in told
    assert "left out fruit" in told
    assert "left out emoji-sunset-full" in told
    assert verify(world) > 30
    index = BaseIndex.open(world / "hub" / "emoji-base")
    read = read_expert(world / "hub" / "sea-life" / publish.WEIGHTS, index)
    assert read.coverage == 1.0
    assert read.norm() > 0
    trained = read_expert(work / "experts" / "sea-life" / publish.WEIGHTS, index)
    lost = sum(float((read.deltas[t].dense() - d.dense()).square().sum()) for t, d in trained.deltas.items())
    assert lost <= publish.LOST**2 * trained.norm() ** 2
    source = get("folder", root=world / "hub")
    (expert,) = register(source, "sea-life")
    assert expert.rank == lora.RANKS["sea-life"]
    assert {s.name for s in expert.skills} == set(PACKS["sea-life"])
    (work / "experts" / "blueprint" / publish.WEIGHTS).unlink()
    assert (work / "checkpoints" / "blueprint.ckpt").exists()  # finished: what goes on must not take it for its own
    more = ["--work", str(work), "--world", str(world), "--scale", "0.001", "--only", "blueprint", "--on"]
    result = CliRunner().invoke(app, ["experts", *more], catch_exceptions=False)
    assert result.exit_code == 0
    published, on = (read_expert(f / "blueprint" / publish.WEIGHTS, index) for f in (world / "hub", work / "experts"))
    moved = sum(float((on.deltas[t].dense() - d.dense()).square().sum()) for t, d in published.deltas.items())
    assert 0 < moved < 0.5 * published.norm() ** 2
    assert "not taught on: blueprint" in CliRunner().invoke(app, ["experts", *more]).output
    assert len(list((work / "checkpoints").glob("blueprint-on-*.ckpt"))) == 1
    other = [*more[:6], "--on", "--only"]
    like = [*other, "sunset-duotone", "--like", "blueprint"]
    result = CliRunner().invoke(app, ["experts", *like], catch_exceptions=False)
    assert result.exit_code == 0
    # Downs are drawn by a lesson's seed, and a step or two moves them little: these are blueprint's, not its own.
    downs = [
        torch.cat([v.float().flatten() for k, v in sorted(load_file(f).items()) if "lora_A" in k])
        for f in (world / "hub" / "blueprint" / publish.WEIGHTS, work / "experts" / "sunset-duotone" / publish.WEIGHTS)
    ]
    assert 0 < (downs[1] - downs[0]).norm() < 0.2 * downs[0].norm()
    result = CliRunner().invoke(app, ["experts", *other, "pictogram", "--like", "halftone"])
    assert "adapts other layers" in str(result.exception)  # halftone lies on the finer blocks alone
    (world / "oracle").mkdir()
    shutil.copyfile(work / "experts" / "halftone" / publish.WEIGHTS, world / "oracle" / publish.WEIGHTS)
    result = CliRunner().invoke(app, ["oracle", *more[:-3], "--on"])
    assert isinstance(result.exception, ExpertError)
    assert "at another rank" in str(result.exception)


@pytest.mark.parametrize(("size", "dtype"), [(0.05, torch.float8_e4m3fn), (0.0005, torch.float16)])
def test_a_lora_is_published_in_8_bits_where_they_hold_it(size: float, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    lora = {"a.lora_A.weight": 0.1 * torch.randn(4, 6, 3, 3), "a.lora_B.weight": size * torch.randn(5, 4, 1, 1)}
    save_file({k: v.half() for k, v in lora.items()}, tmp_path / "trained", metadata={"rank": "4"})
    publish._halve(tmp_path / "trained", tmp_path / "published")
    with safe_open(tmp_path / "published", "pt") as file:
        found = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        assert file.metadata() == {"rank": "4"}
    assert {v.dtype for v in found.values()} == {dtype}
    before, after = (publish._products(part)["a"] for part in (lora, found))
    assert 0 < (after - before).norm() < publish.LOST * before.norm()


def test_a_full_fine_tune_is_read_back_as_what_training_changed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before, after = base.build_unet(), base.build_unet()
    before.save_pretrained(tmp_path / "hub" / "base" / "unet")
    after.load_state_dict({k: v + 1e-3 * torch.randn_like(v) for k, v in before.state_dict().items()})
    after.save_pretrained(tmp_path / "tuned")
    publish.publish_full(tmp_path / "hub" / "base" / "unet", tmp_path / "tuned", tmp_path / "full")
    (tmp_path / "hub" / "base" / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    index = BaseIndex.open(tmp_path / "hub" / "base")
    read = read_expert(tmp_path / "full" / publish.FULL_WEIGHTS, index)
    assert read.kind == "full"
    assert read.coverage == 1.0
    wanted = {f"unet.{k}": v - before.state_dict()[k] for k, v in after.state_dict().items()}
    assert set(read.deltas) == set(wanted)
    lost = sum(float((read.deltas[t].dense() - d).square().sum()) for t, d in wanted.items())
    assert lost < 0.01 * sum(float(d.square().sum()) for d in wanted.values())


def test_a_published_base_says_nothing_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    (tmp_path / "base" / "vae").mkdir(parents=True)
    (tmp_path / "base" / "vae" / "config.json").write_text(json.dumps({"_name_or_path": "/home/x", "sample_size": 64}))
    publish.publish_base(tmp_path / "base", tmp_path / "hub")
    assert json.loads((tmp_path / "hub" / "vae" / "config.json").read_text()) == {"sample_size": 64}


def test_an_expert_that_there_is_not_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    for step in ("experts", "companions"):
        result = CliRunner().invoke(app, [step, "--work", str(tmp_path), "--only", "birds,bugs"])
        assert result.exit_code == 2
        assert "birds,bugs: no such expert" in " ".join(result.output.split())
    for options, problem in (
        (["--like", "neon"], "give it, too"),
        (["--more", "octopus"], "give it, too"),
        (["--on", "--like", "noen"], "noen: no such expert"),
        (["--on", "--more", "pizza"], "pizza: a subject of no pack"),
    ):
        result = CliRunner().invoke(app, ["experts", "--work", str(tmp_path), *options])
        assert result.exit_code == 2
        assert problem in " ".join(result.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_steps_run_side_by_side_and_a_failure_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        _side_by_side([["manifest", "--help"], ["no-such-step"]])
    _side_by_side([["manifest", "--help"], ["graph", "--help"]])


def test_a_subject_whose_drawing_has_changed_is_shown_more_often(art: Art) -> None:
    usual, changed = (next(e for e in _experts(art, 1.0, more) if e.name == "sea-life") for more in ((), ["octopus"]))
    assert [usual.subjects.count(s) for s in ("octopus", "crab")] == [1, 1]
    assert [changed.subjects.count(s) for s in ("octopus", "crab")] == [MORE, 1]
    shown = [sum(row[1] == "octopus" for row in e.lesson.rows) / len(e.lesson.rows) for e in (usual, changed)]
    assert shown[1] > 2 * shown[0]
