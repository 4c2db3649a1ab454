"""``plan --check/--diff/--schema``, ``merge`` and ``replay`` as a person meets them, on a tiny real pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from diffgraph.cli.main import app
from diffgraph.graph.experts.expert import Expert, SourceRef
from diffgraph.graph.relations.relation import Relation
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan, Switch
from diffgraph.merging.sampling.a1111_text import payload_sums
from diffgraph.merging.sampling.pipeline import render
from diffgraph.merging.sampling.png_record import save_png

Run = Callable[..., Result]


@pytest.fixture
def run(world: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, over the tiny base; experts are looked for in the folder ``loras``."""
    monkeypatch.setenv("DIFFGRAPH_BASE", str(world.base_dir))
    monkeypatch.setenv("DIFFGRAPH_DEVICE", "cpu")
    loras = world.root / "loras"
    loras.mkdir()
    for name in ("owl", "ink"):
        shutil.copy(world.paths[name], loras / f"{name}.safetensors")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="diffgraph")


@pytest.fixture
def plan(world: Any) -> MergePlan:
    return world.plan(world.expert("owl", 0.8), world.expert("ink", 0.5, "style"), seeds=(3,))


@pytest.fixture
def file(plan: MergePlan, tmp_path: Path) -> Path:
    plan.save(tmp_path / "plan.json")
    return tmp_path / "plan.json"


def register(home: Path, plan: MergePlan, licence: str) -> None:
    """Put the plan's experts into the graph, and an overlap between them."""
    with GraphStore(home / "graph") as store:
        for spec in plan.experts:
            ref = SourceRef(source="world", repo=spec.id, revision="main", file="x.safetensors")
            node = {"id": f"graph/{spec.id}", "title": spec.id, "ref": ref, "sha256": spec.sha256, "kind": "lora"}
            facts = {"base_family": "tiny", "size_bytes": 1, "licence": licence}
            store.add_experts([Expert.model_validate(node | facts)])
        store.put_relation(Relation(a="graph/ink", b="graph/owl", kind="overlap", value=0.9))


def test_a_plan_is_checked_and_the_exit_code_tells(run: Run, plan: MergePlan, file: Path, home: Path) -> None:
    register(home, plan, "mit")
    good = run("plan", "--check", file, "--experts", file.parent / "loras", "--json")
    assert good.exit_code == 0, good.stderr
    report = json.loads(good.stdout)
    assert (report["ok"], report["plan_id"]) == (True, plan.plan_id)
    assert {p["code"] for p in report["problems"]} == {"overlap", "licence"}  # the tiny base has no card
    assert report["estimate"]["device"] == "cpu"
    assert report["estimate"]["peak_bytes"] > 0
    words = run("plan", "--check", file, "--experts", file.parent / "loras").stdout
    assert "owl: lora, rank 4" in words
    assert "by more than one expert" in words
    assert "cosine 0.90" in words
    bad = run("plan", "--check", file)
    assert bad.exit_code == 1
    assert "WRONG expert ink" in bad.stdout
    assert "Say --experts FOLDER" in bad.stdout


def test_plans_are_compared_and_their_schema_is_printed(run: Run, plan: MergePlan, file: Path, tmp_path: Path) -> None:
    plan.model_copy(update={"prompt": "a cat", "schedule": Switch()}).save(tmp_path / "other.json")
    done = run("plan", "--diff", file, tmp_path / "other.json")
    assert done.exit_code == 1
    assert '  prompt: "an owl" -> "a cat"' in done.stdout
    assert '+ schedule: {"kind": "switch", "every": 1}' in done.stdout
    same = run("plan", "--diff", file, file, "--json")
    assert (same.exit_code, json.loads(same.stdout)["changes"]) == (0, [])
    schema = json.loads(run("plan", "--schema").stdout)
    assert schema["title"] == "DiffGraph merge plan"
    for words in ((), ("an owl", "--schema"), ("--check", file, "--diff", file, file)):
        done = run("plan", *words)
        assert done.exit_code == 2
        assert "Say one thing" in done.stderr


def test_a_merge_is_written_in_every_form(run: Run, file: Path, tmp_path: Path) -> None:
    loras = ("--experts", tmp_path / "loras")
    done = run("merge", file, "-o", tmp_path / "x.safetensors", *loras, "--layout", "kohya", "--rank", 2, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["form"], report["rank"]) == ("lora", 2)
    assert report["energy_lost"] > 0
    assert (tmp_path / "x.md").is_file()
    again = run("merge", file, "-o", tmp_path / "x.safetensors", *loras)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    words = ("-o", tmp_path / "x.safetensors", "--force", "--as", "full", "--dtype", "float16")
    forced = run("merge", file, *words, *loras)
    assert "denoiser" in forced.stdout
    folder = run("merge", file, "-o", tmp_path / "out", *loras, "--stream-budget", "3GB")
    assert folder.exit_code == 0, folder.stderr
    assert "licence of the output: unknown" in folder.stdout
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-o", "x.safetensors", "--as", "lora", "--stream-budget", "much"), 2, "no amount of memory"),
        (("-o", "folder", "--as", "lora"), 2, "A LoRA is one file"),
        (("-o", "x.safetensors", "--as", "full", "--rank", "4"), 2, "--rank and --layout are for a LoRA"),
        (("-o", "x.safetensors", "--stream-budget", "1MB"), 1, "give more"),
        (("-o", "nowhere/x.safetensors"), 2, "No such file or directory"),
        (("-o", "x.safetensors", "--experts", "nowhere"), 2, "There is no folder nowhere"),
    ],
)
def test_a_merge_that_cannot_be_is_a_sentence(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(file.parent)
    before = sorted(path.name for path in file.parent.iterdir())
    done = run("merge", file, "--experts", file.parent / "loras", *words)
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert sorted(path.name for path in file.parent.iterdir()) == before


def test_an_image_is_replayed_and_its_pixels_compared(
    run: Run, world: Any, plan: MergePlan, file: Path, tmp_path: Path
) -> None:
    image = render(Engine(world.base_dir, device="cpu"), plan, world.locate)[0]
    extra = {"device": "cpu", "dtype": "float32", "batch": 1}
    # As `generate` does: with the sums of the experts' files, by which other programs know them.
    save_png(image, tmp_path / "a.png", plan, 3, extra, payload_sums(plan, world.locate))
    loras = ("--experts", tmp_path / "loras")
    done = run("replay", tmp_path / "a.png", *loras, "--out", tmp_path / "b.png", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["equal"] is True
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert run("plan", "--diff", file, tmp_path / "a.png").exit_code == 0
    save_png(Image.new("RGB", image.size), tmp_path / "black.png", plan, 3, extra)
    other = run("replay", tmp_path / "black.png", *loras)
    assert other.exit_code == 1
    assert "pixels differ" in other.stdout
    (tmp_path / "loras" / "owl.safetensors").unlink()
    missing = run("replay", tmp_path / "a.png", *loras)
    assert missing.exit_code == 2
    assert "The file of expert owl" in missing.stderr
    assert "diffgraph scout" in missing.stderr
    elsewhere = plan.model_copy(update={"base": plan.base.model_copy(update={"sha256": "0" * 64})})
    save_png(image, tmp_path / "c.png", elsewhere, 3)
    wrong = run("replay", tmp_path / "c.png", *loras)
    assert wrong.exit_code == 2
    assert "Say --base FOLDER" in wrong.stderr


def test_a_diffusers_folder_is_found_by_what_is_in_it(run: Run, world: Any, tmp_path: Path) -> None:
    shutil.copytree(world.paths["tuned"], tmp_path / "loras" / "deep" / "tuned")
    world.plan(world.expert("tuned")).save(tmp_path / "tuned.json")
    words = ("-o", tmp_path / "t.safetensors", "--as", "full", "--experts", tmp_path / "loras")
    done = run("merge", tmp_path / "tuned.json", *words)
    assert done.exit_code == 0, done.stderr
