"""The wild suite on a small folder of its shape: what it reads, what it keeps from the search, what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffgraph.cli.main import app
from diffgraph.errors import UserError
from diffgraph.evals.runner import run_suite
from diffgraph.evals.suites.wild_data import Wild
from diffgraph.settings import Settings

PAGES = (
    {"id": "p:1", "name": "Pallas cat", "trainedWords": ["tusuncat"], "tags": ["animal", "manul"],
     "category_human": "animal", "facet_human": "subject", "example_prompts": ["a tusuncat, the answer"]},
    {"id": "p:2", "name": "Embroidery", "trainedWords": ["embroidery"], "tags": ["style", "thread"],
     "category_human": "style", "facet_human": "style", "baseModel": "SD 1.5"},
    {"id": "p:3", "name": "Detail Tweaker LoRA", "facet_human": "concept"},
    {"id": "p:4", "name": "Capybara", "versions": [{"name": "v1", "files": [{"name": "capi-09.safetensors"}]}],
     "example_prompts": ["a capybara in a river"], "facet_label": "unknown"},
    {"id": "p:5", "name": "Flux only", "baseModel": "Flux.1 D", "trainedWords": ["tusuncat"]},
    {"id": "p:6", "name": "Hat", "type": "Checkpoint", "trainedWords": ["tusuncat"]},
    {"id": "p:7", "name": "Mix", "type": "Checkpoint", "example_prompts": ["a river"]},
)  # fmt: skip
RECIPES = (
    {"id": "a", "prompt": "best quality, a tusuncat", "prompt_no_triggers": "best quality, a cat", "page_expert": "p:1",
     "loras": [{"expert": "p:1", "weight": 0.8}]},
    {"id": "b", "prompt": "embroidery of a tusuncat", "page_expert": "p:2",
     "loras": [{"expert": "p:1"}, {"expert": "p:2"}, {"expert": "p:3"}]},
    {"id": "c", "prompt": "masterpiece", "loras": [{"expert": "p:3"}]},
    {"id": "d", "prompt": "nobody knows it", "loras": [{"name": "gone"}]},
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "wild"
    made.mkdir()
    for name, records in (("experts.jsonl", PAGES), ("recipes.dev.jsonl", RECIPES)):
        (made / name).write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return made


def test_what_is_searched_and_what_is_kept_from_it(folder: Path) -> None:
    wild = Wild.read(folder)
    assert [p.id for p in wild.pool] == ["p:1", "p:2", "p:3", "p:4"]
    assert [(c.recipe.id, c.wanted, c.quality, c.several) for c in wild.cases] == [
        ("a", ("p:1",), (), False), ("b", ("p:1", "p:2"), ("p:3",), True), ("c", (), ("p:3",), False),
    ]  # fmt: skip
    assert wild.cases[0].query("prompt_no_triggers") == "best quality, a cat"
    assert wild.cases[1].query("prompt_no_triggers") == "embroidery of a tusuncat"
    examples = {e.id: e.examples for e in wild.experts()}
    assert examples == {"p:1": (), "p:2": (), "p:3": (), "p:4": ("a capybara in a river",)}
    assert wild.experts()[3].file_names == ("capi-09",)
    assert [(e.id, e.base_family) for e in wild.others()] == [("p:7", "other")]


def test_labels_beside_the_pages_are_taken(folder: Path) -> None:
    (folder / "labels.jsonl").write_text('{"id": "p:4", "facet_label": "subject"}\n{"id": "p:9"}\n', encoding="utf-8")
    assert {p.id: p.facet_label for p in Wild.read(folder).pages}["p:4"] == "subject"


def test_the_summary_has_its_shape(folder: Path, tmp_path: Path) -> None:
    done = run_suite("wild", settings=Settings(home=tmp_path / "home"), data=folder)
    assert list(done.summary) == ["one", "several", "chosen", "facets", "bm25", "minilm"]
    forms = {"prompt", "prompt_no_triggers"}
    for group in (done.summary, done.summary["bm25"], done.summary["minilm"]):
        for name in ("one", "several"):
            assert set(group[name]) == forms
            assert set(group[name]["prompt"]) == {"recall@1", "recall@5", "recall@10"}
    assert done.summary["one"]["prompt"] == {"recall@1": 1.0, "recall@5": 1.0, "recall@10": 1.0}
    assert done.summary["several"]["prompt"]["recall@5"] == 1.0
    assert set(done.summary["chosen"]) == {"recall", "precision", "experts", "prompt_no_triggers"}
    assert 0 <= done.summary["facets"]["accuracy"] <= 1
    interval = done.details["intervals"]["ours/several/prompt/recall@5"]
    assert (interval["mean"], interval["n"]) == (1.0, 1)
    assert done.html.is_file()
    assert "ours/one/prompt/recall@10" in done.markdown.read_text(encoding="utf-8")


def test_json_ends_with_the_summary(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_HOME", str(tmp_path / "home"))
    said = CliRunner().invoke(app, ["eval", "wild", "--data", str(folder), "--limit", "1", "--json"])
    assert said.exit_code == 0, said.output
    document = json.loads(said.stdout)
    assert list(document)[-1] == "summary"
    assert document["summary"]["bm25"]["one"]["prompt"]["recall@10"] == 1.0


def test_what_is_missing_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with pytest.raises(UserError, match="--data"):
        run_suite("wild", settings=settings)
    with pytest.raises(UserError, match=r"experts\.jsonl"):
        run_suite("wild", settings=settings, data=tmp_path)
    (folder / "recipes.dev.jsonl").write_text('{"id": "a", "prompt": "x"}\n{"id": 3\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        run_suite("wild", settings=settings, data=folder)
