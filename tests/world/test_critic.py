"""The world's critic: one name, one folder, the identity that the shipped calibrations were made with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import diffgraph
import diffgraph.world
from diffgraph.bases import registry
from diffgraph.scoring import protocol
from diffgraph.scoring.protocol import HasParts
from diffgraph.scoring.request import Wanted
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.measure import context_hash, references
from diffgraph.world import WorldMissing, world_dir
from diffgraph.world.critic import Names, config

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


def _sample(repo: str, number: int) -> Image.Image:
    with Image.open(world_dir() / "hub" / repo / f"sample_{number}.png") as image:
        return image.convert("RGB")


@shipped
@pytest.mark.parametrize(
    ("repo", "true", "false"),
    [
        ("neon", Wanted(facet="style", text="neon"), Wanted(facet="style", text="pencil sketch")),
        ("pixel-art", Wanted(facet="style", text="pixel art"), Wanted(facet="style", text="line art")),
        ("ocean-waves", Wanted(facet="background", text="ocean waves"), Wanted(facet="background", text="brick wall")),
    ],
)
def test_the_second_opinion_sees_what_an_expert_is_for(repo: str, true: Wanted, false: Wanted) -> None:
    found = critic("world")
    assert isinstance(found, HasParts)
    second = found.parts()["vlm"]
    verdicts = second.score([_sample(repo, i) for i in range(3)], [true, false])
    assert sum(v.facets[true.text] > v.facets[false.text] for v in verdicts) == 3
    assert sum(v.facets[true.text] > 0.5 for v in verdicts) >= 2


@shipped
@pytest.mark.parametrize(
    ("want", "name"),
    [
        (Wanted(facet="style", text="neon style"), "neon"),
        (Wanted(facet="style", text="plain emoji"), "emoji"),
        (Wanted(facet="subject", text="house"), "house"),
        (Wanted(facet="subject", text="tortoise"), "turtle"),
        (Wanted(facet="subject", text="zyzzyva"), "zyzzyva"),
        (Wanted(facet="count", text="two foxes"), "two foxes"),
    ],
)
def test_a_thing_is_called_as_the_model_was_taught(want: Wanted, name: str) -> None:
    assert Names(diffgraph.Critic.load(world_dir() / "scorers" / "critic"))(want) == name


@shipped
def test_what_is_seen_instead_is_called_as_people_do_and_is_nothing_that_was_asked_for() -> None:
    found = critic("world")
    plain, owl, bus = _sample("birds", 0), Wanted(facet="subject", text="owl"), Wanted(facet="subject", text="bus")
    verdict = found.score([plain], [Wanted(facet="style", text="blueprint")])[0]
    assert verdict.seen["blueprint"] == "emoji"
    (alone,), (beside,) = found.score([plain], [bus]), found.score([plain], [bus, owl])
    assert alone.facets["bus"] < 0.5 < beside.facets["owl"]
    assert alone.seen["bus"]
    assert "bus" not in beside.seen


@shipped
def test_of_two_images_the_one_with_what_is_wanted_is_preferred() -> None:
    found = critic("world")
    assert isinstance(found, protocol.Prefers)
    wanted = [Wanted(facet="style", text="neon")]
    neon, plain = _sample("neon", 0), _sample("birds", 0)
    assert found.prefer(neon, plain, wanted) > 0.6
    assert found.prefer(plain, neon, wanted) == pytest.approx(1 - found.prefer(neon, plain, wanted), abs=1e-6)


@shipped
def test_a_world_without_a_second_opinion_prefers_by_the_first(tmp_path: Path) -> None:
    shutil.copytree(world_dir() / "scorers" / "critic", tmp_path / "scorers" / "critic")
    listed = json.loads((world_dir() / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps(listed))
    alone = critic(f"world:{tmp_path}")
    assert isinstance(alone, HasParts)
    assert not alone.parts()
    wanted = [Wanted(facet="style", text="neon")]
    assert isinstance(alone, protocol.Prefers)
    assert alone.prefer(_sample("neon", 0), _sample("birds", 0), wanted) > 0.5


@shipped
def test_what_it_prefers_hangs_on_the_second_opinion_and_what_it_scores_does_not(tmp_path: Path) -> None:
    shutil.copytree(world_dir() / "scorers" / "critic", tmp_path / "scorers" / "critic")
    shutil.copy(world_dir() / "manifest.json", tmp_path / "manifest.json")
    whole, alone = critic("world"), critic(f"world:{tmp_path}")
    assert whole.identity == alone.identity
    assert protocol.choice_identity(whole) != protocol.choice_identity(alone)
