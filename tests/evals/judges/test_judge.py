"""The judge: file round trip, verdicts, and that nothing at run time can see it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffgraph
from diffgraph.errors import WorldMissing
from diffgraph.evals.judges.judge import HEADS, NONE, Judge, JudgeNet

CLASSES = {"subject": ["cat", "dog"], "style": ["house", "blueprint"], "background": ["plain red", "brick wall"]}
ALLOWED = {Path("world/recipe/judge_net.py")}


@pytest.fixture
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(JudgeNet(dict.fromkeys(HEADS, 2), widths=(4, 8, 8), embed=6), CLASSES)


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(4)]


def test_a_saved_judge_judges_the_same(judge: Judge, images: list[Image.Image], tmp_path: Path) -> None:
    judge.save(tmp_path)
    again = Judge.load(tmp_path)
    for text in CLASSES["subject"]:
        before, after = judge.chance(images, "subject", text), again.chance(images, "subject", text)
        assert before == pytest.approx(after, abs=1e-2)


def test_a_judgement_names_one_class_a_head(judge: Judge, images: list[Image.Image]) -> None:
    for seen in judge.look(images):
        assert seen.subject in [*CLASSES["subject"], NONE]
        assert seen.shows("style", f"{seen.style} style")
        assert not seen.shows("style", "watercolour")
        assert all(1 / 3 - 1e-3 <= p <= 1 for p in seen.chance.values())
        with pytest.raises(KeyError):
            seen.shows("mood", "gloomy")
    assert judge.look([]) == []


def test_chances_of_a_head_sum_to_one_with_none(judge: Judge, images: list[Image.Image]) -> None:
    known = np.array([judge.chance(images, "background", c) for c in CLASSES["background"]])
    assert (known.sum(0) < 1).all()
    assert judge.chance(images, "subject", "unicorn") == [0.0] * 4


def test_an_image_is_most_like_itself(judge: Judge, images: list[Image.Image]) -> None:
    assert judge.similarity(images, images) == pytest.approx([1.0] * 4, abs=1e-4)
    with pytest.raises(ValueError, match="every image"):
        judge.similarity(images, images[:1])


def test_a_missing_judge_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(WorldMissing, match="make world"):
        Judge.load(tmp_path)


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
