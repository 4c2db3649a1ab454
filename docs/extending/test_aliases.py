"""The kind is a suite by itself, and counts what the graph finds."""

from __future__ import annotations

from pathlib import Path

from diffgraph.evals.runner import run_suite
from diffgraph.evals.suites.suite import names
from diffgraph.settings import Settings


def test_it_runs_by_its_name(tmp_path: Path) -> None:
    assert "aliases" in names()
    seen: list[str] = []
    done = run_suite(
        "aliases",
        settings=Settings(home=tmp_path),
        out=tmp_path,
        limit=6,
        on_progress=lambda number, of, text: seen.append(text),
    )
    assert done.summary["asked"] == len(seen) == 6
    assert done.markdown.read_text(encoding="utf-8").count("\n- ") == 6
    assert done.summary["right"] == 6
