"""The node: what nobody said takes no room, and graphs of earlier versions are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from diffgraph.graph.experts.expert import FACETS, Expert, SourceRef
from diffgraph.graph.store.graph_store import GraphStore

BEFORE = (
    '{"id":"world/a","title":"A","ref":{"source":"world","repo":"a","revision":"1","file":"a.safetensors"},'
    '"sha256":"' + "a" * 64 + '","base_family":"emoji","kind":"lora","rank":4,"size_bytes":10,"licence":"mit",'
    '"created":"","samples":0,"tags":[],"skills":[],"text":"a"}'
)


def full() -> Expert:
    return Expert(
        id="folder/pixel",
        title="Pixel art",
        ref=SourceRef(source="folder", repo="/x", revision="1", file="pixel.safetensors"),
        sha256="b" * 64,
        base_family="sd15",
        kind="lora",
        size_bytes=1,
        text="pixel",
        description="eight bits",
        file_names=("pixel",),
        triggers=(("pixel art", "8 bit"), ("pixelated",)),
        tag_counts=(("pixel", 30), ("cat", 2)),
        weight=0.8,
        negative="blurry",
        popularity=7,
        ecosystem="pony",
        nsfw=True,
        payload_sha256="c" * 64,
    )


def test_a_node_of_before_is_read_and_written_as_it_was() -> None:
    assert Expert.model_validate_json(BEFORE).model_dump_json() == BEFORE


def test_what_is_said_comes_back_and_what_nobody_said_takes_no_room() -> None:
    data = full().model_dump(mode="json")
    assert data["triggers"] == [["pixel art", "8 bit"], ["pixelated"]]
    assert not {"clip_weight", "off"} & data.keys()
    assert full().model_dump(mode="json", context={"whole": True})["off"] is False
    assert Expert.model_validate(data) == full()
    assert (full().autov2, full().autov3) == ("b" * 10, "c" * 12)


@pytest.mark.parametrize("wrong", [{"weight": float("nan")}, {"weight": 1e6}, {"description": "x" * 3000}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Expert.model_validate({**full().model_dump(), **wrong})


def test_the_order_of_what_the_embedded_world_draws_stays() -> None:
    before = ["subject", "style", "background", "action", "lighting", "quality"]
    assert [facet for facet in FACETS if facet in before] == before


def test_what_is_off_or_gone_is_in_the_graph_and_in_no_choice(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "graph") as store:
        shown = full().model_copy(update={"skills": (), "nsfw": False})
        hidden = shown.model_copy(update={"id": "folder/off", "off": True})
        gone = shown.model_copy(update={"id": "folder/gone", "missing": True})
        store.add_experts([shown, hidden, gone])
        assert [e.id for e in store.view("sd15").experts] == ["folder/pixel"]
        assert len(store.experts("sd15")) == 3
        store.export_jsonl(tmp_path / "graph.jsonl")
    with GraphStore(tmp_path / "again") as store:
        store.import_jsonl(tmp_path / "graph.jsonl")
        assert store.expert("folder/off") == hidden
