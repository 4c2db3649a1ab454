"""What was measured on one base does not hold for another of its architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.selection.solver import activate
from diffgraph.graph.store.graph_store import GraphStore

A, B = "a" * 64, "b" * 64


def an_expert() -> Expert:
    return Expert(
        id="folder/fox", title="Fox", ref=SourceRef(source="folder", repo="fox", revision="1", file="w.safetensors"),
        sha256="0" * 64, base_family="sd15", kind="lora", size_bytes=1,
        skills=(Skill(facet="subject", name="fox", trigger="fox"),),
    )  # fmt: skip


def measured(base: str, context: str, **facts: object) -> Calibration:
    known = {"expert_id": "folder/fox", "expert_sha256": "0" * 64, "plan_context_hash": context, "base": base}
    return Calibration.model_validate({**known, "verdict": "works", **facts})


@contextmanager
def opened(folder: Path, key: str) -> Iterator[GraphStore]:
    with GraphStore(folder, base=lambda: key) as store:
        yield store


def test_a_calibration_holds_for_its_base_only(tmp_path: Path) -> None:
    with opened(tmp_path, A) as store:
        store.add_expert(an_expert())
        store.put_calibration(measured(A, "on a", best_weight=0.5))
        assert [c.best_weight for c in store.calibrations("folder/fox")] == [0.5]
        assert activate("a fox", store, "sd15").experts[0].weight == 0.5
    with opened(tmp_path, B) as store:
        assert store.calibrations() == []
        assert store.view("sd15").calibrations == {}
        (active,) = activate("a fox", store, "sd15").experts
        assert (active.calibrated, active.weight) == (False, 1.0)
        assert [c.base for c in store.calibrations(any_base=True)] == [A]
        store.put_calibration(measured(B, "on b", verdict="no effect"))
        assert store.view("sd15").calibrations["folder/fox"].verdict == "no effect"
        assert activate("a fox", store, "sd15").experts == ()
    with opened(tmp_path, A) as store:
        assert activate("a fox", store, "sd15").experts[0].weight == 0.5


def test_an_export_keeps_those_of_all_bases_and_an_import_says_whose_they_are(tmp_path: Path) -> None:
    with opened(tmp_path / "one", A) as store:
        store.add_expert(an_expert())
        store.put_calibration(measured(B, "on b"))
        store.put_calibration(measured("", "nobody wrote it down"))
        store.export_jsonl(tmp_path / "graph.jsonl")
    with opened(tmp_path / "two", A) as store:
        store.import_jsonl(tmp_path / "graph.jsonl", base=A)
        assert {c.plan_context_hash: c.base for c in store.calibrations(any_base=True)} == {
            "on b": B, "nobody wrote it down": A,
        }  # fmt: skip
        assert [c.base for c in store.calibrations()] == [A]


def test_the_one_that_shall_count_is_the_latest_again(tmp_path: Path) -> None:
    with opened(tmp_path, A) as store:
        store.put_calibration(measured(A, "first critic"))
        store.put_calibration(measured(A, "second critic", verdict="weak"))
        store.put_calibration(measured(A, "first critic"))
        assert store.calibrations()[-1].verdict == "weak"
        store.put_calibration(measured(A, "first critic"), latest=True)
        assert store.calibrations()[-1].verdict == "works"
        assert len(store.calibrations()) == 2
