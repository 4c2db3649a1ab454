"""A version as Civitai gives it, with everything in it missing or of another type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffgraph.graph.experts.said import Said
from diffgraph.graph.experts.sidecars import read_sidecar
from diffgraph.graph.experts.sidecars.civitai_info import of_version

VERSION = {
    "id": 7,
    "modelId": 3,
    "name": "v2.0",
    "baseModel": "Pony",
    "description": "<p>Weight 0.6-0.8</p>",
    "trainedWords": ["ohwx, red dress", "ohwx, blue dress"],
    "publishedAt": "2024-05-01T10:00:00Z",
    "stats": {"downloadCount": 1200},
    "model": {
        "name": "Dress-up", "type": "LORA", "nsfw": False, "tags": ["clothing", "dress"],
        "allowNoCredit": False, "allowCommercialUse": ["Image"], "allowDerivatives": False,
    },
    "files": [
        {"name": "other.safetensors", "hashes": {"SHA256": "A" * 64}},
        {"name": "dress.safetensors", "primary": True, "hashes": {"SHA256": "B" * 64, "AutoV3": "C" * 12},
         "pickleScanResult": "Danger"},
    ],
    "images": [{"nsfwLevel": 1, "meta": {"prompt": "ohwx, red dress, a garden"}}, {"meta": None}, None],
}  # fmt: skip


def test_a_version(tmp_path: Path) -> None:
    path = tmp_path / "dress.civitai.info"
    path.write_text(json.dumps(VERSION), encoding="utf-8")
    said = read_sidecar(path, "civitai_info", "dress.safetensors")
    assert said is not None
    assert said.triggers == (("ohwx", "red dress"), ("ohwx", "blue dress"))
    assert (said.title, said.base_model, said.licence) == ("Dress-up", "Pony", "civitai-by-nd")
    assert (said.weight, said.weight_min, said.weight_max) == (0.7, 0.6, 0.8)
    assert (said.sha256, said.autov3, said.origin) == ("b" * 64, "c" * 12, "civitai:3@7")
    assert (said.popularity, said.created, said.nsfw) == (1200, "2024-05-01", False)
    assert said.examples == ("ohwx, red dress, a garden",)
    assert said.warnings == ("Civitai's pickle scan says Danger",)


@pytest.mark.parametrize(
    ("version", "nsfw"),
    [
        ({"model": {"nsfw": True}}, True),
        ({"model": {"nsfw": False}, "nsfwLevel": 31}, False),
        ({"nsfwLevel": 28}, True),
        ({"nsfwLevel": 3}, False),
        ({"nsfwLevel": 5}, False),
        ({}, None),
    ],
)
def test_nsfw(version: dict[str, object], nsfw: bool | None) -> None:
    assert of_version(version, by="x").nsfw is nsfw


@pytest.mark.parametrize("wrong", [None, 3, "text", [], {}, [[]], [None], {"a": {"b": []}}, float("inf"), True])
def test_anything_may_be_of_another_type(wrong: object) -> None:
    for name in VERSION:
        assert isinstance(of_version({**VERSION, name: wrong}, by="x", stem="dress"), Said)
    for name in ("name", "tags", "nsfw", "description", "allowCommercialUse"):
        assert isinstance(of_version({"model": {name: wrong}}, by="x"), Said)
    assert isinstance(
        of_version({"files": [{"hashes": wrong, "name": wrong}], "images": [{"meta": wrong}]}, by="x"), Said
    )


def test_words_in_the_description_where_the_field_is_empty() -> None:
    version = {"trainedWords": [], "description": "<p>Trigger words: <code>pixfox</code></p>", "model": {"name": "Fox"}}
    assert of_version(version, by="x").triggers == (("pixfox",),)


def test_long_texts_are_cut() -> None:
    said = of_version(
        {"trainedWords": ["y" * 20_000], "model": {"name": "x" * 20_000, "description": "z " * 50_000}}, by="x"
    )
    assert len(said.title) <= 200
    assert len(said.description) <= 2_000
    assert len(said.triggers[0][0]) == 80
