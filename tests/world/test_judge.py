"""The world's judge: file round trip, verdicts, and that nothing at run time can see it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffgraph
from diffgraph.bases import registry
from diffgraph.errors import UserError
from diffgraph.evals.judges.protocol import JUDGES, judge_for
from diffgraph.scoring.request import Wanted
from diffgraph.world import WorldMissing
from diffgraph.world.judge import HEADS, NONE, JudgeNet, WorldJudge

CLASSES = {"subject": ["cat", "dog"], "style": ["house", "blueprint"], "background": ["plain red", "brick wall"]}
ALLOWED = {Path("world/recipe/judge_net.py"), Path("world/judge.py")}


@pytest.fixture
def judge() -> WorldJudge:
    torch.manual_seed(0)
    return WorldJudge(JudgeNet(dict.fromkeys(HEADS, 2), widths=(4, 8, 8), embed=6), CLASSES)


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(4)]


def test_a_saved_judge_judges_the_same(judge: WorldJudge, images: list[Image.Image], tmp_path: Path) -> None:
    judge.save(tmp_path)
    again = WorldJudge.load(tmp_path)
    asked = [Wanted(facet=f, text=texts[0]) for f, texts in CLASSES.items()]
    for before, after in zip(judge.judge(images, asked), again.judge(images, asked), strict=True):
        assert before.chance == pytest.approx(after.chance, abs=1e-2)
    assert again.digest == WorldJudge.load(tmp_path).digest
    with pytest.raises(ValueError, match="never saved"):
        judge.digest  # noqa: B018


def test_a_judgement_names_one_class_a_head(judge: WorldJudge, images: list[Image.Image]) -> None:
    for text in ("house style", "blueprint", "watercolour"):
        for seen in judge.judge(images, [Wanted(facet="style", text=text)]):
            assert seen.seen["subject"] in [*CLASSES["subject"], NONE]
            assert set(seen.seen) == set(HEADS)
            assert seen.joint == seen.hits["style"] == (seen.seen["style"] == text.removesuffix(" style"))
            assert 0 <= seen.chance["style"] <= 1
    with pytest.raises(KeyError):
        judge.judge(images, [Wanted(facet="mood", text="gloomy")])
    assert judge.judge([], []) == []
    assert all(seen.joint for seen in judge.judge(images, []))


def test_chances_of_a_head_sum_to_one_with_none(judge: WorldJudge, images: list[Image.Image]) -> None:
    asked = [[Wanted(facet="background", text=c)] for c in CLASSES["background"]]
    known = np.array([[seen.chance["background"] for seen in judge.judge(images, one)] for one in asked])
    assert (known.sum(0) < 1).all()
    unknown = judge.judge(images, [Wanted(facet="subject", text="unicorn")])
    assert [(seen.chance, seen.joint) for seen in unknown] == [({"subject": 0.0}, False)] * 4


def test_an_image_is_most_like_itself(judge: WorldJudge, images: list[Image.Image]) -> None:
    assert judge.similarity(images, images) == pytest.approx([1.0] * 4, abs=1e-4)
    with pytest.raises(ValueError, match="every image"):
        judge.similarity(images, images[:1])


def test_a_missing_judge_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(WorldMissing, match="make world"):
        WorldJudge.load(tmp_path)


def test_the_judge_comes_from_the_suite_or_the_base(
    tmp_path: Path, judge: WorldJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "world" in JUDGES.names()
    for name in ("critic", "judge"):
        judge.save(tmp_path / "scorers" / name)
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "hub" / "base").mkdir(parents=True)
    (tmp_path / "hub" / "base" / "model_index.json").write_text("{}")
    monkeypatch.setenv("DIFFGRAPH_WORLD", str(tmp_path))
    world, mine = registry.chosen(f"world:{tmp_path}"), registry.chosen(str(tmp_path / "hub" / "base"))
    assert judge_for(world).digest == judge_for(mine, "world").digest
    with pytest.raises(UserError, match="No judge comes with the base 'base'"):
        judge_for(mine)
    with pytest.raises(UserError, match="did you mean world"):
        judge_for(world, "wordl")


def test_nothing_outside_evals_and_its_trainer_imports_the_judge() -> None:
    root = Path(diffgraph.__file__).parent
    rooms = ("agents", "tools", "graph", "merging", "scoring", "prompts", "world")
    files = [*root.glob("*.py"), *(p for room in rooms for p in (root / room).rglob("*.py"))]
    guilty = []
    for path in files:
        relative = path.relative_to(root)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module or ''}.{a.name}" for a in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            if any("judge" in n.split(".") for n in names) and relative not in ALLOWED:
                guilty.append(f"{relative}:{node.lineno}")
    assert len(files) > 20
    assert not guilty
