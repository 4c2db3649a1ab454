"""A diffusers folder that is not whole is refused when it is named, with the file and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from diffgraph.bases import known, registry
from diffgraph.errors import BaseMissing, UserError

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
Damage = Callable[[Path], object]


def cut(name: str, by: int | None = None) -> Damage:
    """Leave 4 bytes of a file, or take some off its end."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[: -by if by else 4])


def written(name: str, data: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(data)


def gone(name: str) -> Damage:
    def remove(folder: Path) -> None:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return remove


def classed(said: object) -> Damage:
    def change(folder: Path) -> None:
        listing = json.loads((folder / "model_index.json").read_text()) | {"_class_name": said}
        (folder / "model_index.json").write_text(json.dumps(listing))

    return change


DAMAGES: dict[str, tuple[Damage, str]] = {
    "listing of bad JSON": (written("model_index.json", b"{"), "model_index.json"),
    "listing of a list": (written("model_index.json", b"[]"), "model_index.json"),
    "listing of strange bytes": (written("model_index.json", b"\xff\xfe\x00"), "model_index.json"),
    "listing too deep": (written("model_index.json", b"[" * 200_000), "model_index.json"),
    "class of a number": (classed(5), "model_index.json"),
    "class nobody knows": (classed("FoxPipeline"), "FoxPipeline"),
    "class of none": (classed(None), "_class_name"),
    "4 bytes of weights": (cut(WEIGHTS), WEIGHTS),
    "weights cut by 4 bytes": (cut(WEIGHTS, 4), WEIGHTS),
    "no weights": (gone(WEIGHTS), "unet"),
    "no vae weights": (gone("vae/diffusion_pytorch_model.safetensors"), "vae"),
    "weights of an encoder cut": (cut("text_encoder/model.safetensors", 1), "text_encoder"),
    "config of bad JSON": (written("unet/config.json", b"{,"), "unet/config.json"),
    "config of a list": (written("vae/config.json", b"[]"), "vae/config.json"),
    "no config": (gone("unet/config.json"), "unet/config.json"),
    "bad scheduler": (written("scheduler/scheduler_config.json", b""), "scheduler_config.json"),
    "empty scheduler": (gone("scheduler/scheduler_config.json"), "scheduler_config.json"),
    "no vocabulary": (gone("tokenizer/tokenizer.json"), "vocabulary"),
    **{f"no {part}": (gone(part), part) for part in ("unet", "vae", "scheduler", "text_encoder", "tokenizer")},
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_told_when_a_folder_is_named(kind: str, sd15: Path, tmp_path: Path) -> None:
    damage, names = DAMAGES[kind]
    folder = shutil.copytree(sd15, tmp_path / "mine")
    damage(folder)
    for ask in (registry.add, registry.chosen):
        with pytest.raises(UserError, match=r"damaged.* Copy or download it whole again") as told:
            ask(str(folder), tmp_path / "home")
        assert names in str(told.value)
    assert known.read(tmp_path / "home").bases == ()


def test_whole_folders_are_taken(sd15: Path, sdxl: Path, tmp_path: Path) -> None:
    assert [registry.add(str(f), tmp_path).architecture for f in (sd15, sdxl)] == ["sd15", "sdxl"]


@pytest.mark.parametrize("damage", [cut(WEIGHTS), gone(WEIGHTS), gone("model_index.json")])
def test_a_known_base_that_lost_a_file_is_told_by_the_file(damage: Damage, sd15: Path, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", shutil.copytree(sd15, tmp_path / "mine")
    registry.add(str(folder), home)
    damage(folder)
    for ask in ("mine", None):
        with pytest.raises(BaseMissing, match=r"damaged: .*(unet|model_index).* whole again") as told:
            registry.chosen(ask, home)
        assert "not there any more" not in str(told.value)


def test_one_folder_is_one_base_however_it_is_written(
    sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder = tmp_path / "home", shutil.copytree(sd15, tmp_path / "mine")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for place in ("mine", "mine/../mine", "link", str(folder), "mine/unet/.."):
        assert registry.add(place, home).where == str(folder)
    assert [base.name for base in known.read(home).bases] == ["mine"]
    assert [row.name for row in registry.listed("mine/../link", home) if row.in_force] == ["mine"]
    told: list[str] = []
    registry.add("link", home, name="other", tell=told.append)
    assert [base.name for base in known.read(home).bases] == ["other"]
    assert "was known as mine; it is called other" in told[0]


def test_no_place_is_not_this_folder(sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sd15)
    for place in ("", "  "):
        with pytest.raises(UserError, match="Name the base"):
            registry.add(place, tmp_path)
    assert registry.add(".", tmp_path).name == sd15.name


def test_a_damaged_list_is_kept_aside_when_a_place_is_named(
    sd15: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for round_, ask in enumerate((registry.chosen, registry.add), start=1):
        (tmp_path / "bases.json").write_text(f"{{ {round_}")
        assert ask(str(sd15), tmp_path).architecture == "sd15"
        assert "bases.json is damaged: it is kept as bases.json.damaged" in caplog.text
        caplog.clear()
    assert sorted(p.read_text() for p in tmp_path.glob("bases.json.damaged*")) == ["{ 1", "{ 2"]
