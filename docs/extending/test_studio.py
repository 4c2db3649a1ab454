"""The base is named in the setting, with its folder behind the colon."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgraph import UserError
from diffgraph.bases.registry import chosen


def test_a_setting_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "my-sd15"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}", encoding="utf-8")
    profile = chosen(f"studio:{folder}")
    assert (profile.name, profile.folder, profile.steps) == ("studio", folder, 12)
    assert profile.sources == ("shelf",)
    with pytest.raises(UserError, match="no diffusers pipeline"):
        chosen(f"studio:{tmp_path}")
