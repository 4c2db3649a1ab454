"""The world's critic: one name, one folder, the identity that the shipped calibrations were made with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import diffgraph
import diffgraph.world
from diffgraph.bases import registry
from diffgraph.scoring import protocol
from diffgraph.scoring.request import Wanted
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.measure import context_hash, references
from diffgraph.world import WorldMissing, world_dir
from diffgraph.world.critic import config

SHIPPED = (Path(diffgraph.world.__file__).parent / "scorers" / "critic" / "model.safetensors").is_file()
shipped = pytest.mark.skipif(not SHIPPED, reason="this version ships no trained world; `make world` makes one")


def critic(named: str) -> protocol.Critic:
    return protocol.make(named, protocol.CriticSetup(registry.chosen("world")))


@shipped
def test_it_is_the_base_own_and_fits_no_other(tmp_path: Path) -> None:
    base = registry.chosen("world")
    found = protocol.fitting("auto", protocol.CriticSetup(base))
    assert found.fits(base)
    assert not found.fits(base.model_copy(update={"ref": "folder:mine"}))
    verdict = found.score([Image.new("RGB", (64, 64), "white")], [Wanted(facet="subject", text="octopus")])[0]
    assert verdict.score < 0.5


@shipped
def test_the_shipped_calibrations_hold(home: Path) -> None:
    """Circumstances that hash to something else would have every expert measured anew."""
    with Context.open(Settings(home=home)) as ctx:
        now = context_hash(ctx, references(ctx))
        own = [c for c in ctx.store.calibrations() if ctx.store.expert(c.expert_id).base_family == ctx.family]
        assert len(own) > 20
        assert {c.plan_context_hash for c in own} == {now}


def test_a_damaged_one_says_how_to_get_another(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {}}))
    found = protocol.make(f"world:{tmp_path}", protocol.CriticSetup(registry.chosen(None)))
    with pytest.raises(WorldMissing, match="make world"):
        found.identity  # noqa: B018
    with pytest.raises(WorldMissing, match="make world"):
        found.score([Image.new("RGB", (4, 4))], [])
    with pytest.raises(WorldMissing, match="no embedded world"):
        critic(f"world:{tmp_path / 'nowhere'}")


@shipped
def test_its_public_class_reads_the_folder() -> None:
    found = diffgraph.Critic.load(world_dir() / "scorers" / "critic")
    assert found.facets == ("subject", "style", "background")
    assert found.net.config == config()
