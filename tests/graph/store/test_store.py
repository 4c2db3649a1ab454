"""The graph on a real Chroma: what is written is there for everyone, whatever else goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from diffgraph.errors import ExternalError, UserError
from diffgraph.graph.calibration.record import Calibration, ReferenceScore
from diffgraph.graph.calibration.reference_prompts import ReferencePrompt
from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.relations.relation import Relation
from diffgraph.graph.store import pages
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.graph.store.runs import RunRecord


class Letters:
    """A tiny real embedder: letter counts. Keeps these tests free of torch."""

    model_id = "letters"
    dim = 26

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.array([[t.casefold().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32).reshape(
            -1, 26
        )
        rows += 0.01
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def expert(name: str, *subjects: str, family: str = "emoji", **more: Any) -> Expert:
    ref = SourceRef(source="world", repo=name, revision="1", file="a.safetensors")
    skills = tuple(Skill(facet="subject", name=s, trigger=s) for s in subjects)
    fields: dict[str, Any] = {"title": name, "sha256": "0" * 64, "kind": "lora", "size_bytes": 1, "text": name, **more}
    return Expert(id=f"world/{name}", ref=ref, base_family=family, skills=skills, **fields)


def calibration(name: str, context: str = "c", verdict: Any = "works") -> Calibration:
    score = ReferenceScore(prompt_id="p", strength=1.0, metric="critic", base=0.1, value=0.9)
    return Calibration(
        expert_id=f"world/{name}", expert_sha256="0" * 64, plan_context_hash=context, scores=(score,),
        gain={"crab": 0.8}, direction=(0.6, 0.8), strength_shift=0.4, consistency=0.9,
        best_weight=0.75, verdict=verdict,
    )  # fmt: skip


@pytest.fixture
def graph(tmp_path: Path):
    with GraphStore(tmp_path / "graph", Letters()) as store:
        yield store


def test_experts_come_back_as_they_went_in(graph: GraphStore) -> None:
    crab, bee = expert("sea", "crab", "shark"), expert("bugs", "bee", family="sdxl")
    base = expert("base", "cat", kind="base")
    graph.add_experts([crab, bee, base])
    assert graph.experts() == [bee, crab]
    assert graph.experts("emoji") == [crab]
    assert graph.experts("nothing") == []
    assert (graph.base("emoji"), graph.base("sdxl"), graph.bases()) == (base, None, [base])
    assert graph.families() == ["emoji", "sdxl"]
    assert graph.expert("world/sea") == crab
    with pytest.raises(UserError, match="world/bugs"):
        graph.expert("world/bug")
    with pytest.raises(UserError, match="no expert"):
        graph.expert("zzzz")


def test_adding_again_changes_nothing_and_changing_replaces(graph: GraphStore, tmp_path: Path) -> None:
    graph.add_expert(expert("sea", "crab", "shark"))
    before = (tmp_path / "graph" / "stamp").read_text()
    graph.add_expert(expert("sea", "crab", "shark"))
    assert (tmp_path / "graph" / "stamp").read_text() == before
    graph.add_expert(expert("sea", "whale"))
    assert [h.skill.name for h in graph.search("shark", "emoji")] == ["whale"]
    graph.add_expert(expert("sea", "whale", family="sdxl"))
    assert (graph.experts("emoji"), graph.search("whale", "emoji")) == ([], [])


def test_search_groups_by_skill_and_keeps_to_family_and_facet(graph: GraphStore) -> None:
    neon = Skill(facet="style", name="neon", trigger="neon style", aliases=("glow",))
    ref = SourceRef(source="world", repo="neon", revision="1", file="a.safetensors")
    style = Expert(
        id="world/neon",
        title="n",
        ref=ref,
        sha256="1" * 64,
        base_family="emoji",
        kind="lora",
        size_bytes=1,
        skills=(neon,),
    )
    graph.add_experts([expert("sea", "crab", "shark"), expert("other", "crab", family="sdxl"), style])
    hits = graph.search("crab", "emoji")
    assert (hits[0].expert_id, hits[0].skill.name) == ("world/sea", "crab")
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert len(hits) == 3
    assert [h.skill.name for h in graph.search("glow", "emoji", "style")] == ["neon"]
    assert len(graph.search("crab", "emoji", k=1)) == 1
    assert graph.search("crab", "flux1") == []


def test_odd_family_names_are_kept(graph: GraphStore) -> None:
    odd = expert("odd", "crab", family="Größe/../ ☃")
    graph.add_expert(odd)
    assert graph.experts("Größe/../ ☃") == [odd]
    assert [h.expert_id for h in graph.search("crab", "Größe/../ ☃")] == ["world/odd"]


def test_calibrations_relations_prompts_runs(graph: GraphStore) -> None:
    graph.put_calibration(calibration("sea", "old", "weak"))
    graph.put_calibration(calibration("sea", "new"))
    graph.put_calibration(calibration("sea", "new"))
    graph.put_calibration(calibration("bugs"))
    assert graph.calibrations("world/sea") == [calibration("sea", "old", "weak"), calibration("sea", "new")]
    assert len(graph.calibrations()) == 3
    graph.put_relation(Relation(a="b", b="a", kind="overlap", value=0.1))
    graph.put_relation(Relation(a="a", b="b", kind="overlap", value=0.2))
    graph.put_relation(Relation(a="c", b="a", kind="duplicate", value=1))
    assert [(r.a, r.b, r.value) for r in graph.relations("a")] == [("a", "b", 0.2), ("a", "c", 1.0)]
    assert [r.other("b") for r in graph.relations("b")] == ["a"]
    prompts = [ReferencePrompt.of("zebra"), ReferencePrompt.of("apple")]
    graph.add_reference_prompts(prompts)
    graph.add_reference_prompts([ReferencePrompt.of("apple"), ReferencePrompt.of("moon")])
    assert [p.text for p in graph.reference_prompts()] == ["zebra", "apple", "moon"]
    for run in ("r2", "r1", "r2"):
        graph.record_run(RunRecord(run_id=run, weights={"a": 1.0, "b": 0.5}, accepted=True))
    assert [r.run_id for r in graph.runs()] == ["r2", "r1"]


def test_the_view_is_read_once_per_change_and_drops_stale_calibrations(graph: GraphStore) -> None:
    graph.add_expert(expert("sea", "crab"))
    graph.put_calibration(calibration("sea"))
    first = graph.view("emoji")
    assert graph.view("emoji") is first
    assert set(first.calibrations) == {"world/sea"}
    graph.add_expert(expert("sea", "crab", sha256="9" * 64))
    assert graph.view("emoji").calibrations == {}


def test_relations_are_checked() -> None:
    with pytest.raises(ValidationError):
        Relation(a="x", b="x", kind="overlap", value=0.1)
    with pytest.raises(ValidationError):
        Relation(a="x", b="y", kind="overlap", value=float("nan"))
    with pytest.raises(ValidationError):
        RunRecord(run_id="../evil")


def fill(graph: GraphStore) -> None:
    graph.add_experts(
        [expert("sea", "crab", "shark"), expert("bugs", "bee", family="sdxl"), expert("b", "cat", kind="base")]
    )
    graph.put_calibration(calibration("sea"))
    graph.put_relation(Relation(a="world/sea", b="world/bugs", kind="overlap", value=0.25, note="ünïcode"))
    graph.add_reference_prompts([ReferencePrompt.of("zebra", {"subject": "zebra"}), ReferencePrompt.of("ant")])
    graph.record_run(RunRecord(run_id="r1", prompt="käse", weights={"world/sea": 0.5}))


def test_export_and_import_lose_nothing(graph: GraphStore, tmp_path: Path) -> None:
    fill(graph)
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    graph.export_jsonl(first)
    with GraphStore(tmp_path / "other", Letters()) as other:
        assert other.import_jsonl(first) == 8
        other.export_jsonl(second)
        assert other.search("crab", "emoji") == graph.search("crab", "emoji")
        assert other.import_jsonl(first) == 8
        other.export_jsonl(second)
    assert first.read_bytes() == second.read_bytes()


def test_import_into_another_model_embeds_anew(graph: GraphStore, tmp_path: Path) -> None:
    class Fewer(Letters):
        model_id = "fewer"

    fill(graph)
    graph.export_jsonl(tmp_path / "g.jsonl")
    with GraphStore(tmp_path / "other", Fewer()) as other:
        other.import_jsonl(tmp_path / "g.jsonl")
        assert other.experts() == graph.experts()
        assert [h.skill.name for h in other.search("shark", "emoji", k=1)] == ["shark"]
    with pytest.raises(UserError, match="embedded with fewer"):
        GraphStore(tmp_path / "other", Letters())


def test_damaged_exports_say_where(graph: GraphStore, tmp_path: Path) -> None:
    fill(graph)
    path = tmp_path / "g.jsonl"
    graph.export_jsonl(path)
    good = path.read_text(encoding="utf-8").splitlines()
    with GraphStore(tmp_path / "other", Letters()) as other:
        for lines, why in (
            (["{}"], "not an export"),
            ([good[0], good[1][:-9]], "line 2"),
            ([good[0], good[1], '{"type": "alien", "data": {}}'], "line 3"),
            ([good[0], good[1].replace('"vectors":{"', '"vectors":{"x":"AAAA","')], "line 2"),
        ):
            path.write_text("\n".join(lines), encoding="utf-8")
            with pytest.raises(UserError, match=why):
                other.import_jsonl(path)
        assert other.experts() == []
        with pytest.raises(UserError, match="no file"):
            other.import_jsonl(tmp_path / "absent.jsonl")


def test_more_rows_than_one_batch(graph: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    client = graph._database._client
    monkeypatch.setattr(type(client), "get_max_batch_size", lambda self: 7)
    graph.add_experts([expert(f"e{i}", f"thing{i}") for i in range(20)])
    assert len(graph.experts()) == 20


def test_large_collections_are_read_in_pages(
    graph: GraphStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "PAGE", 97)
    many = [expert(f"e{i:04}", f"thing{i}") for i in range(2500)]
    graph.add_experts(many)
    assert graph.experts() == many
    assert len(graph.view("emoji").experts) == 2500
    assert graph.expert("world/e1234") == many[1234]
    graph.export_jsonl(tmp_path / "all.jsonl")
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 2501


def test_relations_of_retired_kinds_are_kept_and_not_read(graph: GraphStore, tmp_path: Path) -> None:
    graph.put_relation(Relation(a="a", b="b", kind="overlap", value=0.5))
    graph.export_jsonl(tmp_path / "g.jsonl")
    old = {"a": "b", "b": "a", "kind": "derived-from", "value": 1.0, "note": "käse"}
    line = {"type": "relations", "key": "k", "meta": {"a": "b", "b": "a", "at": 7}, "data": old}
    with (tmp_path / "g.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    with GraphStore(tmp_path / "other", Letters()) as other:
        assert other.import_jsonl(tmp_path / "g.jsonl") == 2
        assert [r.kind for r in other.relations()] == ["overlap"]
        assert [r.kind for r in other.relations("b")] == ["overlap"]
        other.export_jsonl(tmp_path / "again.jsonl")
    kept = [json.loads(text) for text in (tmp_path / "again.jsonl").read_text(encoding="utf-8").splitlines()]
    assert line in kept
    with pytest.raises(ValidationError):
        Relation(a="a", b="b", kind="synergy", value=0.1)  # type: ignore[arg-type]


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_store import GraphStore, Letters, RunRecord, UserError, expert
with GraphStore(Path({path!r}), Letters()) as store:
    print([e.id for e in store.experts()], [h.skill.name for h in store.search("crab", "emoji", k=1)])
    try:
        store.add_expert(expert("late", "zebra"))
        print("wrote")
    except UserError as error:
        print("refused:", error)
    store.record_run(RunRecord(run_id="from-child"))
    print([r.run_id for r in store.runs()])
"""


def child(path: Path) -> list[str]:
    code = CHILD.format(here=str(Path(__file__).parent), path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_second_process_reads_and_is_told_why_it_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    with GraphStore(path, Letters()) as store:
        store.add_expert(expert("sea", "crab"))
        seen, refused, runs = child(path)
        assert seen == "['world/sea'] ['crab']"
        assert "Another diffgraph process" in refused
        assert "DIFFGRAPH_HOME" in refused
        assert runs == "['from-child']"
        assert [r.run_id for r in store.runs()] == ["from-child"]
        store.record_run(RunRecord(run_id="mine"))
        assert [r.run_id for r in store.runs()] == ["from-child", "mine"]
        assert not list((path / "pending-runs").iterdir())


def test_a_reader_sees_what_another_process_wrote(tmp_path: Path) -> None:
    """Chroma itself would go on answering from its old index (chroma#3792)."""
    path = tmp_path / "graph"
    with GraphStore(path, Letters()) as store:
        store.add_expert(expert("sea", "crab"))
    with GraphStore(path, Letters()) as reader:
        assert [h.skill.name for h in reader.search("zebra", "emoji", k=1)] == ["crab"]
        assert child(path)[1] == "wrote"
        assert [h.skill.name for h in reader.search("zebra", "emoji", k=1)] == ["zebra"]
        reader.add_expert(expert("third", "moon"))
        assert len(reader.experts()) == 3


def test_two_stores_in_one_process_share_the_writer(tmp_path: Path) -> None:
    with GraphStore(tmp_path, Letters()) as one, GraphStore(tmp_path, Letters()) as two:
        one.add_expert(expert("a", "crab"))
        two.add_expert(expert("b", "shark"))
        assert len(one.experts()) == len(two.experts()) == 2
        assert {h.skill.name for h in one.search("shark", "emoji")} == {"crab", "shark"}
        one.close()
        assert len(two.experts()) == 2
    one.close()


def test_a_read_only_folder_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with GraphStore(tmp_path / "g", Letters()) as store:
        store.add_expert(expert("sea", "crab"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "g").rglob("*")}
    # Tests may run as root, who may write everywhere; so the question itself is answered.
    monkeypatch.setattr("diffgraph.graph.store.chroma.os.access", lambda *_: False)
    with GraphStore(tmp_path / "g", Letters()) as store:
        assert [h.skill.name for h in store.search("crab", "emoji")] == ["crab"]
        with pytest.raises(UserError, match="read-only"):
            store.add_expert(expert("late", "zebra"))
        with pytest.raises(UserError, match="read-only"):
            store.record_run(RunRecord(run_id="r"))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "g").rglob("*")} == before


def test_places_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be made"):
        GraphStore(tmp_path / "file" / "graph", Letters())
    with pytest.raises(UserError, match="http://host:8000"):
        GraphStore(tmp_path / "a", Letters(), url="host")
    with pytest.raises(ExternalError, match="No Chroma server"):
        GraphStore(tmp_path / "b", Letters(), url="http://127.0.0.1:9")


def test_a_damaged_database_is_a_sentence(tmp_path: Path) -> None:
    with GraphStore(tmp_path, Letters()) as store:
        store.add_expert(expert("sea", "crab"))
    (tmp_path / "chroma" / "chroma.sqlite3").write_bytes(b"not a database" * 900)
    with pytest.raises(ExternalError, match="cannot be read"):
        GraphStore(tmp_path, Letters())
