"""The bench of methods in the span, at pico scale: what it measures is there, and both ways agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffgraph.errors import UserError
from diffgraph.evals.bench import full_size, span_bench
from diffgraph.evals.bench.merge_bench import child


@pytest.mark.slow
def test_it_measures_every_method_and_both_ways_agree(tmp_path: Path) -> None:
    out, said = tmp_path / "bench" / "span.json", []
    rows = span_bench.measure(out, scale="pico", say=said.append)
    assert json.loads(out.read_text()) == rows
    assert set(rows) == set(span_bench.FULL)
    for row in rows.values():
        assert row["worst"] < 1e-4
        assert min(row["span_s"], row["full_s"]) > 0
        assert row["modules"] > len(row["sample"]) > 3
    assert len(said) == 3 * len(rows)
    assert sorted(p.name for p in out.parent.iterdir()) == ["span.json"]
    columns, lines = span_bench.table(rows)
    assert {len(line) for line in lines} == {len(columns)}


@pytest.mark.parametrize("method", list(span_bench.FULL))
def test_the_span_agrees_with_full_size_at_a_shape_of_the_bench(method: str, tmp_path: Path) -> None:
    deltas = span_bench.loras((96, 160), 3)
    ours = span_bench._span(method, deltas).dense().double()
    whole = span_bench.FULL[method]([span_bench._double(delta) for delta in deltas])
    assert float((ours - whole).norm() / whole.norm()) < 1e-4
    assert float((ours - sum(delta.dense() for delta in deltas)).norm()) > 1e-2 * float(whole.norm())


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no_such"):
        child("span_bench", "no_such", "span", "pico", str(tmp_path))


def test_ties_by_hand() -> None:
    one, two = torch.tensor([4.0, -1.0, 0.5, 3.0]), torch.tensor([-1.0, -3.0, 2.0, 0.5])
    assert full_size.ties([one, two], 0.5).tolist() == [4.0, -3.0, 2.0, 3.0]


@pytest.mark.slow
def test_a_finished_method_is_kept_when_the_next_is_interrupted(tmp_path: Path) -> None:
    out, (first, second, _) = tmp_path / "span.json", list(span_bench.FULL)

    def stop(text: str) -> None:
        if text.startswith(second):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        span_bench.measure(out, scale="pico", say=stop)
    assert list(json.loads(out.read_text(encoding="utf-8"))) == [first]
