"""Scouting a source of somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffgraph.graph.experts.sources import Listing
from diffgraph.graph.experts.sources.folder import LocalRepos
from diffgraph.tools.context import Context
from diffgraph.tools.register_experts import claiming, register_new

CARD = "---\nbase_model: {base}\n---\n# Vol. 7\n## Skills\n- walrus\n"


class Shelf(LocalRepos):
    """Knows names only, and those say nothing of what is in a volume."""

    name = "shelf"


class Desk(Shelf):
    """Looks for the words of a query itself."""

    name, searches = "desk", True
    asked: str | None = None

    def list(self, query: str | None = None) -> Iterator[Listing]:
        self.asked = query
        return super().list()


@pytest.fixture
def shelf(tmp_path: Path, ctx: Context) -> Path:
    folder = tmp_path / "shelf" / "vol-7"
    folder.mkdir(parents=True)
    base = next(e.id for e in ctx.store.bases()).partition("/")[2]
    (folder / "README.md").write_text(CARD.format(base=base), encoding="utf-8")
    down, up = np.ones((2, 8), np.float16), np.ones((8, 2), np.float16)
    save_file({"unet.x.to_q.lora_A.weight": down, "unet.x.to_q.lora_B.weight": up}, folder / "a.safetensors")
    return folder.parent


def test_what_cannot_search_is_taken_whole(ctx: Context, shelf: Path) -> None:
    registered, refused = register_new(ctx, Shelf(shelf), "walrus")
    assert not refused
    assert [expert.id for expert in registered] == ["shelf/vol-7"]
    assert claiming(ctx, "walrus") == ["shelf/vol-7"]


def test_what_can_is_asked(ctx: Context, shelf: Path) -> None:
    desk = Desk(shelf)
    assert [expert.id for expert in register_new(ctx, desk, "walrus")[0]] == ["desk/vol-7"]
    assert desk.asked == "walrus"


def test_a_source_that_does_not_say_is_taken_whole(ctx: Context, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(LocalRepos, "searches")
    assert register_new(ctx, Shelf(shelf), "walrus")[0]
