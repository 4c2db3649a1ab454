import hashlib
import json
from pathlib import Path

import pytest

import diffgraph.world
from diffgraph.world import WorldMissing, manifest, verify, world_dir


def _world(folder: Path) -> Path:
    (folder / "hub").mkdir(parents=True)
    (folder / "hub" / "a.txt").write_text("weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"files": {"hub/a.txt": digest}}))
    return folder


def test_a_missing_world_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(WorldMissing, match="make world"):
        world_dir(tmp_path)


def test_verify_counts_the_files_and_finds_a_damaged_one(tmp_path: Path) -> None:
    folder = world_dir(_world(tmp_path))
    assert verify(folder) == 1
    (folder / "hub" / "a.txt").write_text("weightz")
    with pytest.raises(WorldMissing, match="differs"):
        verify(folder)
    (folder / "hub" / "a.txt").unlink()
    with pytest.raises(WorldMissing, match="lacks"):
        verify(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "{"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(WorldMissing, match="damaged"):
        manifest(tmp_path)


def test_the_shipped_world_is_whole_and_small() -> None:
    if not (Path(diffgraph.world.__file__).parent / "manifest.json").is_file():
        pytest.skip("this version ships no trained world; `make world` makes one")
    folder = world_dir()
    assert verify(folder) > 50
    total = sum((folder / name).stat().st_size for name in manifest(folder))
    assert total < 115e6  # bytes, the vision-language model included
    assert not [n for n in manifest(folder) if n.endswith((".pt", ".ckpt", ".pth"))]
