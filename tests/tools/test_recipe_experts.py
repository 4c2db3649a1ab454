"""Which expert a recipe means: by any of the sums that programs write, else by name, else a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.files.hashing import file_sha256
from diffgraph.files.payload_hash import HashMemo, payload_sha256
from diffgraph.merging.plan.foreign.recipe import ForeignExpert
from diffgraph.merging.plan.foreign.values import fold
from diffgraph.tools.recipe_experts import Candidate, Shelf


def file(path: Path, value: float, **metadata: str) -> Path:
    save_file({"x": torch.full((8,), value)}, path, metadata or None)
    return path


def candidate(key: str, path: Path | None, family: str = "sdxl", *names: str, known: bool = True) -> Candidate:
    sha = file_sha256(path) if path is not None and known else "" if path is not None else "ef" * 32
    folded = frozenset(map(fold, (key.rpartition("/")[2], *names)))
    return Candidate(key, f"folder:{key}@0:x", sha, family, "style", "lora", folded, lambda: path)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Four files and one expert that is not on this machine."""
    claim = "0123456789ab" + "c" * 52
    return Shelf(
        [
            candidate("hub/ink", file(tmp_path / "ink.safetensors", 1.0)),
            candidate("hub/renamed", file(tmp_path / "renamed.safetensors", 2.0)),
            candidate("hub/claims", file(tmp_path / "claims.safetensors", 3.0, sshs_model_hash=claim), "sd15"),
            candidate("loose_v2", file(tmp_path / "loose_v2.safetensors", 4.0), "", known=False),
            candidate("far/away", None),
        ],
        HashMemo(),
    )


@pytest.mark.parametrize("digits", [8, 10, 12, 64])
def test_by_the_files_sum_and_by_its_tensors_sum_whatever_the_name(shelf: Shelf, tmp_path: Path, digits: int) -> None:
    path = tmp_path / "renamed.safetensors"
    for digest in (file_sha256(path), payload_sha256(path)):
        match, found = shelf.match(ForeignExpert(name="ink", hashes=(digest[:digits],)), "sdxl")
        assert (match.by, match.expert, match.said) == ("hash", "hub/renamed", "")
        assert found is not None
    loose = file_sha256(tmp_path / "loose_v2.safetensors")
    assert shelf.match(ForeignExpert(name="", hashes=(loose[:digits],)), "sdxl")[0].expert == "loose_v2"


def test_by_the_sum_that_a_header_claims_and_of_an_expert_that_is_elsewhere(shelf: Shelf) -> None:
    match, _ = shelf.match(ForeignExpert(name="x", hashes=("0123456789ab",)), "sdxl")
    assert (match.expert, "header claims" in match.said) == ("hub/claims", True)
    match, _ = shelf.match(ForeignExpert(name="x", hashes=("ef" * 5,)), "sdxl")
    assert (match.expert, match.said) == ("far/away", "")


def test_by_name_with_the_version_compared(shelf: Shelf) -> None:
    match, _ = shelf.match(ForeignExpert(name="styles\\Ink.safetensors"), "sdxl")
    assert (match.by, match.expert) == ("name", "hub/ink")
    assert "gives no hash" in match.said
    match, _ = shelf.match(ForeignExpert(name="INK", hashes=("1" * 12,)), "sdxl")
    assert (match.by, match.expert) == ("other version", "hub/ink")
    assert "111111111111 in the recipe" in match.said
    match, _ = shelf.match(ForeignExpert(name="away", hashes=("1" * 12,)), "sdxl")
    assert (match.by, match.expert) == ("name", "far/away")


def test_what_is_missing_is_named_with_its_hash_and_where_it_may_be(shelf: Shelf) -> None:
    named = ForeignExpert(name="loose_v1", hashes=("1" * 12,), where="Civitai model version 5")
    match, found = shelf.match(named, "sdxl")
    assert (match.by, found, match.candidates) == ("missing", None, ("loose_v2",))
    assert match.said == (
        "missing: loose_v1 (hash 111111111111, Civitai model version 5); another version may be loose_v2; "
        "search your source for 'loose_v1'"
    )
    match, _ = shelf.match(ForeignExpert(name="", where="Civitai model version 5"), "sdxl")
    assert "search your source for 'Civitai model version 5'" in match.said


def test_of_several_with_a_name_the_familys_is_meant_or_nobody_is(shelf: Shelf, tmp_path: Path) -> None:
    shelf.candidates += [
        candidate("other/ink", file(tmp_path / "2.safetensors", 5.0), "sd15"),
        candidate("b/twin", file(tmp_path / "3.safetensors", 6.0)),
        candidate("a/twin", file(tmp_path / "4.safetensors", 7.0)),
        candidate("copy", tmp_path / "ink.safetensors", "", "ink", known=False),
    ]
    assert shelf.match(ForeignExpert(name="ink"), "sdxl")[0].expert == "hub/ink"
    assert shelf.match(ForeignExpert(name="ink"), "sd15")[0].by == "several"
    match, found = shelf.match(ForeignExpert(name="twin"), "sdxl")
    assert (match.by, match.candidates, found) == ("several", ("a/twin", "b/twin"), None)
    assert "a/twin, b/twin" in match.said
    (tmp_path / "3.safetensors").unlink()
    (tmp_path / "loose_v2.safetensors").unlink()
    assert shelf.match(ForeignExpert(name="loose_v2", hashes=("1" * 12,)), "sdxl")[0].by == "missing"
