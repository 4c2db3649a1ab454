"""The shelf lists what lies on it, and finds by name."""

from __future__ import annotations

from pathlib import Path

from diffgraph.graph.experts import sources


def test_it_finds_folders_by_name(tmp_path: Path) -> None:
    for name in ("crabs", "owls"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"# {name}\n", encoding="utf-8")
    shelf = sources.get("shelf", str(tmp_path))
    assert [listing.repo for listing in shelf.list()] == ["crabs", "owls"]
    assert [listing.repo for listing in shelf.list("owl")] == ["owls"]
    assert shelf.card("owls") == "# owls\n"
