"""What headers say: modelspec, and the trainer's notes."""

from __future__ import annotations

import json
from pathlib import Path

from diffgraph.files.header import read_header
from diffgraph.graph.experts.header_words import words_of
from diffgraph.graph.experts.said import Said, together

from .weights import lora


def said(tmp_path: Path, meta: dict[str, str]) -> Said:
    return together(words_of(read_header(lora(tmp_path / "x.safetensors", meta=meta))))


def test_modelspec(tmp_path: Path) -> None:
    found = said(
        tmp_path,
        {
            "modelspec.title": "Fox",
            "modelspec.trigger_phrase": "pixfox",
            "modelspec.usage_hint": "weight 0.7",
            "modelspec.hash_sha256": "0x" + "AB" * 32,
            "modelspec.license": "CreativeML Open RAIL-M",
            "modelspec.architecture": "stable-diffusion-v1/lora",
            "modelspec.tags": "animal, fox",
        },
    )
    assert (found.title, found.triggers, found.weight) == ("Fox", (("pixfox",),), 0.7)
    assert (found.licence, found.base_model) == ("creativeml-openrail-m", "stable-diffusion-v1")
    assert (found.autov3, found.tags) == ("ab" * 6, ("animal", "fox"))


def test_tag_frequencies_and_the_concept_of_a_folder(tmp_path: Path) -> None:
    tags = {"10_smart falcon": {"smart_falcon": 40, "1girl": 41, "smile": 12}, "1_reg": {"1girl": 3}}
    found = said(
        tmp_path, {"ss_tag_frequency": json.dumps(tags), "ss_output_name": "falcon_v2", "ss_sd_model_name": "nai"}
    )
    assert found.tag_counts[:2] == (("1girl", 44), ("smart_falcon", 40))
    assert (found.triggers, found.file_names, found.base_model) == ((("smart_falcon",),), ("falcon_v2",), "nai")


def test_captions_are_no_tags(tmp_path: Path) -> None:
    tags = {"5_pixfox": {"a fox sits in the deep snow": 1, "a fox looks at the moon": 2}}
    found = said(tmp_path, {"ss_tag_frequency": json.dumps(tags)})
    assert found.tag_counts == ()
    assert found.triggers == (("pixfox",),)
    assert found.examples[0] == "a fox looks at the moon"


def test_hostile_notes_say_nothing(tmp_path: Path) -> None:
    for text in ("[" * 50_000, "null", "[1]", '{"a": 3}', '{"a": {"b": "c", "d": -1, "e": 1e999}}', "{"):
        assert said(tmp_path, {"ss_tag_frequency": text}).tag_counts == ()
    many = {"1_x": {f"tag {n}" * 40: n + 1 for n in range(2_000)}}
    found = said(tmp_path, {"ss_tag_frequency": json.dumps(many), "modelspec.title": "x" * 20_000})
    assert len(found.tag_counts) <= 64
    assert len(found.title) <= 120


def test_the_more_trusted_goes_first_field_by_field() -> None:
    user = Said(by="user", trust=90, triggers=(("a", "b"),), weight=0.5)
    page = Said(by="page", trust=60, title="Page", triggers=(("a",), ("b",)), weight=0.9, weight_min=0.8, tags=("x",))
    name = Said(by="name", trust=10, title="Name", tags=("y",))
    both = together([name, page, user])
    assert (both.title, both.tags) == ("Page", ("x", "y"))
    assert both.triggers == (("a",), ("b",))  # the same words, in groups
    assert (both.weight, both.weight_min) == (0.5, None)  # weights are one witness's
    other = together([page, Said(by="user", trust=90, triggers=(("c",),))])
    assert other.triggers == (("c",),)
