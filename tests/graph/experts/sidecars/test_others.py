"""Sidecars of Lora-Manager, Stability Matrix and SwarmUI, and free notes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffgraph.errors import ExpertError
from diffgraph.graph.experts.said import Said
from diffgraph.graph.experts.sidecars import MAX_BYTES, kinds, names_of, previews_of, read_sidecar


def read(tmp_path: Path, kind: str, data: object) -> Said | None:
    path = tmp_path / ("fox" + kinds()[kind].suffix)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return read_sidecar(path, kind, "fox.safetensors")


def test_lora_manager(tmp_path: Path) -> None:
    tips = json.dumps({"strength_min": 0.4, "strength_max": 0.8, "clip_strength": 0.5})
    page = {"trainedWords": ["pixfox"], "model": {"name": "Fox", "nsfw": False}, "id": 1, "modelId": 2}
    data = {"file_name": "fox", "model_name": "My fox", "base_model": "Illustrious", "tags": ["animal"],
            "notes": "mine", "usage_tips": tips, "civitai": page}  # fmt: skip
    said = read(tmp_path, "lora_manager", data)
    assert said is not None
    assert (said.title, said.base_model, said.tags) == ("My fox", "Illustrious", ("animal",))
    assert (said.weight, said.clip_weight, said.weight_min, said.weight_max) == (0.6, 0.5, 0.4, 0.8)
    assert (said.triggers, said.origin, said.off) == ((("pixfox",),), "civitai:2@1", None)
    hidden = read(tmp_path, "lora_manager", {**data, "exclude": True, "usage_tips": "{oops", "civitai": None})
    assert hidden is not None
    assert (hidden.off, hidden.weight, hidden.triggers) == (True, None, ())


def test_stability_matrix(tmp_path: Path) -> None:
    data = {"ModelId": 3, "VersionId": 4, "ModelName": "Fox", "UserTitle": "My fox", "Nsfw": True, "Tags": ["animal"],
            "ModelDescription": "<p>strength 0.7</p>", "BaseModel": "SDXL 1.0", "TrainedWords": ["pixfox, red"],
            "Hashes": {"SHA256": "AB" * 32}, "Stats": {"DownloadCount": 5}}  # fmt: skip
    said = read(tmp_path, "stability_matrix", data)
    assert said is not None
    assert (said.title, said.triggers, said.weight, said.nsfw) == ("My fox", (("pixfox", "red"),), 0.7, True)
    assert (said.sha256, said.popularity, said.origin) == ("ab" * 32, 5, "civitai:3@4")
    assert read(tmp_path, "stability_matrix", {"modelId": 3}) is None


def test_swarm(tmp_path: Path) -> None:
    data = {"modelspec.title": "Fox", "modelspec.trigger_phrase": "pixfox; red", "modelspec.lora_default_weight": "0.9",
            "modelspec.usage_hint": "use it with snow", "modelspec.tags": "animal, fox"}  # fmt: skip
    said = read(tmp_path, "swarm", data)
    assert said is not None
    assert (said.title, said.triggers, said.weight) == ("Fox", (("pixfox", "red"),), 0.9)
    assert said.tags == ("animal", "fox")
    assert read(tmp_path, "swarm", {"lora_default_weight": 0.5}) is not None
    assert read(tmp_path, "swarm", {"other": 1}) is None


def test_notes(tmp_path: Path) -> None:
    said = read(tmp_path, "notes", "A fox I like.\nTrigger words: pixfox, red fur\nweight 0.6")
    assert said is not None
    assert (said.triggers, said.weight) == ((("pixfox", "red fur"),), 0.6)
    listed = read(tmp_path, "notes", "pixfox, red fur")
    assert listed is not None
    assert listed.triggers == (("pixfox", "red fur"),)
    assert read(tmp_path, "notes", "  \n ") is None


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", "[" * 100_000, '{"a": NaN'])
def test_what_is_no_object_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExpertError, match=r"fox\.civitai\.info"):
        read(tmp_path, "civitai_info", text)


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="larger"):
        read(tmp_path, "civitai_info", "x" * (MAX_BYTES + 1))


def test_what_sidecars_and_pictures_are_called() -> None:
    names = names_of("Fox.v1.safetensors")
    assert names["fox.v1.civitai.info"] == names["fox.v1.safetensors.civitai.info"] == "civitai_info"
    assert names["fox.v1.json"] == "a1111"
    assert {"fox.v1.png", "fox.v1.preview.webp", "fox.v1.thumb.jpg"} <= set(previews_of("Fox.v1.safetensors"))
