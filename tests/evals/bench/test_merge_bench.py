"""The merge bench at pico scale: that every engine merges the same thing, and that the file says what was measured."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from diffgraph.errors import UserError
from diffgraph.evals.bench import merge_bench, merge_contenders, merge_inputs
from diffgraph.evals.bench.merge_contenders import Task, contenders, run

KNOWN = (4, 9)
"""More than eight, so that one known expert is in no plan."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    merge_inputs.build(folder, "pico", max(KNOWN))
    return folder


def test_the_shapes_are_sdxls() -> None:
    sizes = merge_inputs.touched("sdxl")
    assert len(sizes) == 722
    assert sum(rows * columns for rows, columns in sizes.values()) == pytest.approx(2.2e9, rel=0.02)


# What these libraries say of themselves is not ours to mend.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "engine", ["diffgraph", *(pytest.param(e, marks=pytest.mark.slow) for e in ("diffusers", "peft"))]
)
def test_every_engine_merges_the_same(folder: Path, engine: str) -> None:
    found = run(Task(engine, str(folder), "pico", KNOWN, switches=1, threads=0))
    assert set(found["switch_s"]) == {"4", "9"}
    assert found["files_to_merged_s"] > 0.0
    assert found["peak_rss_mb"] >= found["base_rss_mb"] > 0.0
    # Ours rounds once; the others round every expert's product, and the sum after each.
    assert found["error"] < (1.01 if engine == "diffgraph" else 5.0)


def test_a_switch_ends_where_a_fresh_merge_of_that_plan_does(folder: Path) -> None:
    world = merge_inputs.World.at(folder, max(KNOWN))
    one, two = (merge_contenders.DiffGraph(world, "cpu") for _ in range(2))
    for engine in (one, two):
        engine.open()
    one.merge(range(4), (1.0, 0.5, 0.2, 0.1))
    one.switch(range(4, 8), merge_contenders.WEIGHTS[1])
    two.merge(range(4, 8), merge_contenders.WEIGHTS[1])
    assert all(bool((weight == two.engine.weights[target]).all()) for target, weight in one.engine.weights.items())


@pytest.mark.slow
def test_the_bench_writes_what_it_measured(tmp_path: Path) -> None:
    out, said = tmp_path / "bench" / "merge.json", []
    merge_bench.REPEATS, before = 1, merge_bench.REPEATS
    try:
        measured = merge_bench.measure(out, scale="pico", engines=["diffgraph"], known=(4, 9), say=said.append)
    finally:
        merge_bench.REPEATS = before
    written = json.loads(out.read_text())
    assert written == measured["result"]
    assert set(written) == {"floor_s", "engines"}
    assert set(written["engines"]) == {"diffgraph"}
    assert set(written["engines"]["diffgraph"]) == {"files_to_merged_s", "switch_s", "peak_rss_mb"}
    assert list(written["engines"]["diffgraph"]["switch_s"]) == ["4", "9"]
    assert 0.0 < written["floor_s"] < written["engines"]["diffgraph"]["files_to_merged_s"]
    assert [path.name for path in out.parent.iterdir()] == ["merge.json"], "what was made for the bench is removed"
    assert any("diffgraph, run 1" in text for text in said)
    columns, rows = merge_bench.table(measured)
    assert [row[0] for row in rows] == ["floor", "diffgraph"]
    assert all(len(row) == len(columns) for row in rows)


@pytest.mark.slow
def test_an_interrupt_keeps_the_engines_that_were_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(name: str, *_: object) -> dict[str, object]:
        if name == "peft":
            raise KeyboardInterrupt
        return {"files_to_merged_s": 1.0, "switch_s": {"4": 0.5}, "peak_rss_mb": 10.0, "base_rss_mb": 5.0, "error": 1.0}

    monkeypatch.setattr(merge_bench, "_engine", engine)
    out = tmp_path / "merge.json"
    with pytest.raises(KeyboardInterrupt):
        merge_bench.measure(out, scale="pico", engines=["diffgraph", "diffusers", "peft"], known=(4,))
    assert set(json.loads(out.read_text())["engines"]) == {"diffgraph", "diffusers"}


def test_an_engine_that_is_not_here_is_left_out_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(contenders()) == {"diffgraph", "diffusers", "peft", "sd_mecha"}
    assert merge_contenders.missing("diffgraph", "pico") is None
    assert "published shapes" in (merge_contenders.missing("sd_mecha", "pico") or "")
    monkeypatch.setattr(merge_contenders, "find_spec", lambda name: None if name == "sd_mecha" else find_spec(name))
    assert "sd_mecha is not installed" in (merge_contenders.missing("sd_mecha", "sdxl") or "")


def test_an_unknown_engine_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no engine 'a1111'; the bench knows diffgraph"):
        merge_bench.measure(tmp_path / "merge.json", scale="pico", engines=["a1111"])


def test_an_engine_that_takes_too_long_switches_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_contenders, "LONGEST_SWITCHING_S", 0.0)
    merged: list[object] = []
    real = merge_contenders.DiffGraph.merge
    monkeypatch.setattr(merge_contenders.DiffGraph, "switch", lambda *plan: merged.append(plan[1:]) or real(*plan))
    found = run(Task("diffgraph", str(folder), "pico", KNOWN, switches=4, threads=0))
    assert set(found["switch_s"]) == {"4", "9"}
    assert len(merged) == 2
    assert merged[0] != merged[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CUDA device"):
        merge_bench.measure(tmp_path / "bench" / "merge.json", scale="pico", device="cuda")
    assert not (tmp_path / "bench").exists()
