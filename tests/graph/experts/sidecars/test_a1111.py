"""A1111's card of an extra network."""

from __future__ import annotations

import json
from pathlib import Path

from diffgraph.graph.experts.said import Said
from diffgraph.graph.experts.sidecars import read_sidecar


def read(tmp_path: Path, **fields: object) -> Said | None:
    path = tmp_path / "fox.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return read_sidecar(path, "a1111", "fox.safetensors")


def test_what_the_user_typed(tmp_path: Path) -> None:
    said = read(
        tmp_path,
        **{"activation text": "pixfox, red fur", "preferred weight": 0.7, "negative text": "dog", "sd version": "SDXL"},
        description="A fox.",
        notes="Nice with snow.",
    )
    assert said is not None
    assert (said.triggers, said.weight, said.negative) == ((("pixfox", "red fur"),), 0.7, "dog")
    assert (said.base_model, said.description) == ("SDXL 1.0", "A fox. Nice with snow.")


def test_zero_means_that_no_weight_was_set(tmp_path: Path) -> None:
    said = read(tmp_path, **{"activation text": "", "preferred weight": 0, "notes": "weight 0.6 is best"})
    assert said is not None
    assert (said.weight, said.triggers) == (0.6, ())
    again = read(tmp_path, **{"preferred weight": "0", "sd version": "Unknown", "negative text": "none"})
    assert again is not None
    assert (again.weight, again.base_model, again.negative) == (None, "", "")


def test_another_programs_json_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, model="x", prompt="y") is None
