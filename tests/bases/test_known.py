"""What a home remembers of bases: names, places, keys; a damaged list; a base that moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffgraph.bases import known, registry
from diffgraph.errors import BaseMissing, UserError
from diffgraph.files import hashing
from diffgraph.files.hashing import file_sha256

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def pipeline(folder: Path, value: float = 0.0, width: int = 768) -> Path:
    """A diffusers folder with one weight, enough to be told and hashed."""
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]})
    )
    save_file({CROSS: np.full((4, width), value, np.float16)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def weights_of(folder: Path) -> Path:
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def test_naming_a_folder_makes_it_known_with_its_key(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", pipeline(tmp_path / "my-sd15")
    found = registry.chosen(str(folder), home)
    assert (found.name, found.kind, found.origin, found.architecture) == ("my-sd15", "folder", "", "sd15")
    assert found.key == file_sha256(weights_of(folder))
    (entry,) = known.read(home).bases
    assert (entry.name, entry.where, entry.key) == ("my-sd15", str(folder), found.key)
    assert registry.chosen("my-sd15", home) == registry.chosen(str(folder), home) == found
    assert len(known.read(home).bases) == 1


def test_a_known_base_is_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "home", pipeline(tmp_path / "my-sd15")
    key = registry.chosen(str(folder), home).key
    hashing._known.clear()  # as in another process
    monkeypatch.setattr(hashing.hashlib, "file_digest", lambda *a: pytest.fail("hashed again"))
    assert registry.chosen("my-sd15", home).key == key
    assert file_sha256(weights_of(folder)) == key


def test_weights_that_changed_get_another_key(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", pipeline(tmp_path / "my-sd15")
    before = registry.chosen(str(folder), home).key
    shutil.rmtree(folder)
    pipeline(folder, 1.0)
    after = registry.chosen("my-sd15", home).key
    assert after == file_sha256(weights_of(folder)) != before
    assert known.read(home).bases[0].key == after


def test_two_folders_of_one_name_get_two_names(tmp_path: Path) -> None:
    home = tmp_path / "home"
    one, two = pipeline(tmp_path / "a" / "mix"), pipeline(tmp_path / "b" / "mix", 1.0)
    world = pipeline(tmp_path / "world")
    assert [registry.chosen(str(p), home).name for p in (one, two, world)] == ["mix", "mix-2", "world-2"]


def test_the_first_base_added_is_used_and_the_setting_goes_before_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    one, two = pipeline(tmp_path / "one"), pipeline(tmp_path / "two", 1.0, width=2048)
    assert registry.add(str(one), home).name == "one"
    assert registry.add(str(two), home, name="my.two").name == "my.two"
    assert registry.chosen(None, home).name == "one"
    registry.use("my.two", home)
    assert registry.chosen("", home).architecture == "sdxl"
    assert registry.chosen("one", home).architecture == "sd15"
    assert {row.name: row.in_force for row in registry.listed(None, home)} == {
        "one": False, "my.two": True, "world": False,
    }  # fmt: skip
    assert {row.name for row in registry.listed(str(one), home) if row.in_force} == {"one"}
    registry.remove("my.two", home)
    assert known.read(home).default == ""
    assert two.is_dir()


def test_a_base_that_is_added_again_under_another_name_keeps_one_entry(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", pipeline(tmp_path / "one")
    registry.add(str(folder), home)
    assert registry.add(str(folder), home, name="better").name == "better"
    assert [base.name for base in known.read(home).bases] == ["better"]
    assert registry.chosen(None, home).name == "better"


def test_a_base_that_moved_is_told_with_what_to_do(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", pipeline(tmp_path / "one")
    registry.add(str(folder), home)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(BaseMissing, match=r"base one was in .*not there any more.*base add .* --name one.*remove one"):
        registry.chosen("one", home)
    assert "not there any more" in registry.listed(None, home)[0].trouble
    assert registry.add(str(tmp_path / "elsewhere"), home, name="one").where == str(tmp_path / "elsewhere")
    assert [base.where for base in known.read(home).bases] == [str(tmp_path / "elsewhere")]


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 9}', '{"bases": [{"name": "x"}]}', "\xff"])
def test_a_damaged_list_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "bases.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"bases\.json is damaged .*base add"):
        registry.chosen(None, tmp_path)


@pytest.mark.parametrize("name", ["../x", "", " ", "a/b", "world", "x" * 81])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    folder = pipeline(tmp_path / "one")
    if not name:
        assert registry.add(str(folder), tmp_path / "home").name == "one"
        return
    with pytest.raises(UserError, match="name"):
        registry.add(str(folder), tmp_path / "home", name=name)
    assert known.read(tmp_path / "home").bases == ()


def test_an_unknown_name_is_answered_with_the_closest(tmp_path: Path) -> None:
    registry.add(str(pipeline(tmp_path / "juggernaut")), tmp_path / "home")
    for ask in (registry.chosen, registry.use):
        with pytest.raises(UserError, match="Did you mean juggernaut"):
            ask("jugernaut", tmp_path / "home")


def test_places_that_are_no_base_are_refused_by_name(tmp_path: Path) -> None:
    pipeline(tmp_path / "models" / "one")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "dream.safetensors").touch()
    for name in ("x.ckpt", "x.gguf", "x.txt"):
        (tmp_path / name).touch()
    for place, says in {
        "models": "name one .one.", "files": r"name one .dream\.safetensors", "x.ckpt": "pickle", "x.gguf": "GGUF",
        "x.txt": "no base",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=says):
            registry.chosen(str(tmp_path / place), tmp_path / "home")


def test_a_home_that_cannot_be_written_is_no_obstacle_to_drawing(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    folder = pipeline(tmp_path / "one")
    assert registry.chosen(str(folder), tmp_path / "elsewhere").key
    with pytest.raises(UserError, match="cannot be"):
        registry.add(str(folder), tmp_path / "home" / "in-a-file")
