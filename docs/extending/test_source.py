"""The shelf lists what lies on it, and finds by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgraph.graph.experts import sources


def test_it_finds_folders_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("crabs", "owls"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"# {name}\n", encoding="utf-8")
    monkeypatch.setenv("SHELF", str(tmp_path))
    shelf = sources.get("shelf")
    assert [listing.repo for listing in shelf.list()] == ["crabs", "owls"]
    assert [listing.repo for listing in shelf.list("owl")] == ["owls"]
    assert shelf.card("owls") == "# owls\n"
