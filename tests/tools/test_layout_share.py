"""How much of a look goes into the coarsest blocks is measured beside others, and the planner keeps to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from diffgraph.agents.calibrator import calibrate
from diffgraph.agents.scout import scout
from diffgraph.errors import ToolRetry
from diffgraph.graph.relations.relation import Relation
from diffgraph.scoring.request import Wanted
from diffgraph.settings import Settings
from diffgraph.tools import layout_share
from diffgraph.tools.activate_experts import ActivateArgs, activate_experts
from diffgraph.tools.context import Context, Job
from diffgraph.tools.merge_and_sample import image_path
from diffgraph.tools.results import Measured, Proposal
from diffgraph.tools.score_images import score_files
from diffgraph.tools.tool import call

COARSE = ("unet.down_blocks.1.*", "unet.mid_block.*", "unet.up_blocks.0.*")


@pytest.fixture
def steep(world: Path, tiny: ModuleType, put_works: Callable[..., Any], tmp_path: Path) -> Iterator[Context]:
    """A world of experts that all work, with a critic that tells images apart."""
    for name in ("README.md", "pytorch_lora_weights.safetensors"):
        (world / "hub" / "a-copy").mkdir(exist_ok=True)
        shutil.copy(world / "hub" / "sea-life" / name, world / "hub" / "a-copy" / name)
    tiny.lora(world / "hub" / "birds", 21, "Birds", "- owl\n- duck\n- swan\n")
    tiny.critic(world / "scorers" / "critic", shift=0.0, slope=0.2)
    tiny.manifest(world)
    with Context.open(Settings(base=f"world:{world}", home=tmp_path / "home", steps=2, device="cpu")) as ctx:
        registered, _ = scout(ctx)
        for expert in registered:
            if expert.kind != "base":
                ctx.store.put_calibration(put_works(expert.id, expert.sha256))
        ctx.store.put_relation(Relation(a="world/a-copy", b="world/sea-life", kind="duplicate", value=1.0))
        yield ctx


def test_a_look_is_measured_beside_every_subject_in_turn_and_every_other_time_another_look(steep: Context) -> None:
    parties = layout_share.parties(steep, steep.store.expert("world/blueprint"))
    named = [[(expert.id, skill.name) for expert, skill in party] for party in parties]
    starry = ("world/starry", "starry night")
    assert named == [
        [("world/a-copy", "octopus")],
        [("world/birds", "duck"), starry],
        [("world/a-copy", "whale")],
        [("world/birds", "owl"), starry],
        [("world/birds", "swan")],
    ]


def pairing(ctx: Context, monkeypatch: pytest.MonkeyPatch, **rules: Any) -> None:
    """Give the context's base other rules of pairing."""
    changed = ctx.profile.pairing.model_copy(update=rules)
    monkeypatch.setattr(ctx.machinery, "profile", ctx.profile.model_copy(update={"pairing": changed}))


def test_who_does_not_work_is_nobody_to_stand_beside(steep: Context, put_works: Callable[..., Any]) -> None:
    for name in ("a-copy", "birds", "sea-life"):
        expert = steep.store.expert(f"world/{name}")
        later = put_works(expert.id, expert.sha256, "weak").model_copy(update={"plan_context_hash": "later"})
        steep.store.put_calibration(later)
    blueprint = steep.store.expert("world/blueprint")
    assert layout_share.parties(steep, blueprint) == []  # that they were once found to work counts no more
    assert layout_share.coarse_share(steep, blueprint, 1.0) == 1.0
    assert layout_share.coarse_share(steep, steep.store.expert("world/birds"), 1.0) == 1.0  # has no look


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_the_share_that_scores_best_is_taken_unless_it_gains_too_little(
    steep: Context, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairing(steep, monkeypatch, least_gain=least)
    expert = steep.store.expert("world/blueprint")
    skill = layout_share.look(expert)
    assert skill is not None
    found = layout_share.coarse_share(steep, expert, 1.25)
    means = {}
    for share in steep.profile.pairing.shares:
        scores = []
        for party in layout_share.parties(steep, expert):
            plan = layout_share._plan(steep, (expert, skill), 1.25, share, party)
            (entry,) = (e for e in plan.experts if e.id == expert.id)
            assert entry.blocks == ({} if share == 1.0 else dict.fromkeys(COARSE, share))
            assert entry.weight == 1.0
            assert all(not e.blocks for e in plan.experts if e.id != expert.id)
            wanted = [Wanted(facet=s.facet, text=s.name) for _, s in [*party, (expert, skill)]]
            scores.append(score_files(steep, [image_path(steep, plan.plan_id, layout_share.SEED)], wanted)[0].score)
        means[share] = float(np.mean(scores))
    assert len(set(means.values())) == 3
    assert found == (1.0 if least else max(means, key=lambda share: means[share]))


def test_calibration_takes_subjects_first_and_styles_last(steep: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    pairing(steep, monkeypatch, least_gain=-1.0, shares=(0.5, 1.0))
    order = [one.expert for one in calibrate(steep) if isinstance(one, Measured)]
    assert order[-2:] == ["world/starry", "world/blueprint"]
    assert {c.coarse for c in steep.store.calibrations("world/birds")} == {1.0}


def test_a_look_goes_beside_a_subject_with_its_share(ctx: Context) -> None:
    for name in ("world/blueprint", "world/sea-life"):
        (found,) = ctx.store.calibrations(name)
        ctx.store.put_calibration(found.model_copy(update={"coarse": 0.5}))

    def proposed(prompt: str, experts: list[dict[str, Any]] | None = None) -> dict[str, tuple[float, dict[str, float]]]:
        job = ctx.with_job(Job(prompt=prompt, activation=activate_experts(ctx, ActivateArgs(prompt=prompt))))
        out = call(job, "propose_plan", {} if experts is None else {"experts": experts})
        assert isinstance(out, Proposal)
        plan = ctx.load_plan(out.plan_id)
        shares = {e.id: e.coarse for e in out.experts}
        return {e.id.split("/")[1]: (shares[e.id], e.blocks) for e in plan.experts}

    half, whole = (0.5, dict.fromkeys(COARSE, 0.5)), (1.0, {})
    assert proposed("octopus, blueprint style") == {"blueprint": half, "sea-life": whole}
    assert proposed("blueprint style") == {"blueprint": whole}
    without = "blueprint style, starry night background"
    assert proposed(without) == {"blueprint": whole, "starry": whole}  # the base draws the subject
    everyone = "octopus, blueprint style, starry night background"
    assert proposed(everyone) == {"blueprint": half, "sea-life": whole, "starry": whole}
    asked = [{"id": "world/blueprint", "coarse": 1.0}, {"id": "world/sea-life", "coarse": 1.5}]
    assert proposed(everyone, asked) == {"blueprint": whole, "sea-life": (1.5, dict.fromkeys(COARSE, 1.5))}
    with pytest.raises(ToolRetry, match="coarse"):
        proposed(everyone, [{"id": "world/blueprint", "coarse": -0.1}])
