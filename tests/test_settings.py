"""Settings of the product and those that plug-ins bring: read alike, printed alike, misspelt alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

import diffgraph.world
from diffgraph import settings as module
from diffgraph.cli.doctor import settings_rows
from diffgraph.errors import UserError
from diffgraph.settings import PluginSettings, Settings, misspelt


def test_a_plug_ins_setting_is_a_variable_like_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert diffgraph.world.WorldSettings in module.groups()
    monkeypatch.setenv("DIFFGRAPH_WORLD", str(tmp_path))
    assert diffgraph.world.WorldSettings.load().world == tmp_path
    assert ("DIFFGRAPH_WORLD", str(tmp_path)) in [(name, value) for name, value, _ in settings_rows(Settings.load())]
    assert misspelt({"DIFFGRAPH_WORLD": "x", "DIFFGRAPH_WORDL": "x"}) == {"DIFFGRAPH_WORDL": "DIFFGRAPH_WORLD"}


def test_a_plug_in_declares_by_subclassing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_declared", list(module._declared))

    class Shelf(PluginSettings):
        shelf: int = Field(default=3, ge=1, description="how many boards")

    assert module.groups()[-1] is Shelf
    assert "DIFFGRAPH_SHELF" in [name for name, _, _ in settings_rows(Settings.load())]
    monkeypatch.setenv("DIFFGRAPH_SHELF", "0")
    with pytest.raises(UserError, match="DIFFGRAPH_SHELF='0' will not do"):
        Shelf.load()
    with pytest.raises(ValueError, match=r"DIFFGRAPH_STEPS is a setting of diffgraph\.settings already"):

        class Taken(PluginSettings):
            steps: int = 3


def test_no_setting_names_a_base_or_a_value_of_one() -> None:
    """What a base decides is unset by default."""
    own = Settings.load()
    assert (own.base, own.sources, own.steps, own.guidance, own.critic) == (None, None, None, None, "auto")


def test_a_path_that_cannot_be_is_a_sentence() -> None:
    from diffgraph.settings import user_path

    assert user_path("~/x").is_absolute()
    with pytest.raises(UserError, match="not on this machine"):
        user_path("~nobody-of-this-name/x")
    with pytest.raises(UserError, match="not UTF-8"):
        user_path("/somewhere/\udcff")


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_HOME", "")
    assert Settings.load().home == Settings.model_fields["home"].default
