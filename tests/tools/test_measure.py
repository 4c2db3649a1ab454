"""Calibration: what an expert does is measured, not read off its card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffgraph.agents.calibrator import calibrate
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.scout import scout
from diffgraph.bases.profile import MeasureRules
from diffgraph.errors import ToolFailed
from diffgraph.graph.calibration.reference_prompts import ReferencePrompt
from diffgraph.scoring.request import Verdict, Wanted
from diffgraph.settings import Settings
from diffgraph.tools.calibrate_expert import CalibrateArgs, calibrate_expert
from diffgraph.tools.context import Context
from diffgraph.tools.events import Event
from diffgraph.tools.measure import Probe, known_calibration, measure, plan_of, probes, references, summed_up, verdict
from diffgraph.tools.merge_and_sample import image_path
from diffgraph.tools.results import Measured
from diffgraph.tools.score_images import score_files
from diffgraph.tools.tool import call


@pytest.fixture
def fresh(world: Path, tiny: ModuleType, tmp_path: Path) -> Iterator[Context]:
    """A world with decoys and a graph in which nothing is calibrated."""
    hub = world / "hub"
    for name in ("README.md", "pytorch_lora_weights.safetensors"):
        (hub / "sea-copy").mkdir(exist_ok=True)
        shutil.copy(hub / "sea-life" / name, hub / "sea-copy" / name)
    tiny.lora(
        hub / "flux-style", 7, "Flux", "- flux look style\n", base="black-forest-labs/FLUX.1-dev", tags="[lora, style]"
    )
    (hub / "pickled").mkdir()
    tiny.card(hub / "pickled", "Pickled", "emoji-base", "## Skills\n- gherkin\n")
    (hub / "pickled" / "weights.ckpt").write_bytes(b"\x80\x04.")
    tiny.critic(world / "scorers" / "critic", shift=0.0, slope=3.0)
    tiny.manifest(world)
    with Context.open(Settings(base=f"world:{world}", home=tmp_path / "home", steps=2, device="cpu")) as ctx:
        yield ctx


def test_scouting_registers_what_can_be_read_and_says_what_cannot(fresh: Context) -> None:
    registered, refused = scout(fresh)
    assert {e.id for e in registered} == {
        "world/emoji-base",
        "world/sea-life",
        "world/sea-copy",
        "world/blueprint",
        "world/starry",
        "world/flux-style",
    }
    assert [r.repo for r in refused] == ["pickled"]
    assert "pickles" in refused[0].why
    assert scout(fresh)[0] == []  # nothing new


def test_calibration_is_done_once_and_finds_the_copy(fresh: Context) -> None:
    scout(fresh)
    results = {r.expert: r for r in calibrate(fresh) if isinstance(r, Measured)}
    assert set(results) == {"world/sea-life", "world/sea-copy", "world/blueprint", "world/starry"}
    assert results["world/sea-copy"].duplicates == ("world/sea-life",)
    assert results["world/blueprint"].duplicates == ()
    found = fresh.store.calibrations("world/blueprint")[0]
    assert np.linalg.norm(found.direction) == pytest.approx(1.0, abs=1e-3)
    assert found.best_weight in (0.5, 1.0, 1.25)
    assert set(found.gain) == {"blueprint", "style", "subject"}
    assert {s.strength for s in found.scores} == {0.5, 1.0, 1.25}
    overlaps = [r for r in fresh.store.relations("world/starry") if r.kind == "overlap"]
    assert {r.other("world/starry") for r in overlaps} == {"world/sea-life", "world/sea-copy", "world/blueprint"}
    images = sorted((fresh.settings.root / "images").rglob("*.png"))
    again = {r.expert: r for r in calibrate(fresh) if isinstance(r, Measured)}
    assert set(again) == set(results)
    assert not any(r.fresh for r in again.values())
    assert sorted((fresh.settings.root / "images").rglob("*.png")) == images
    assert {k: v.verdict for k, v in again.items()} == {k: v.verdict for k, v in results.items()}


def test_an_interrupted_calibration_goes_on(fresh: Context) -> None:
    scout(fresh)
    expert = fresh.store.expert("world/starry")

    def stop(event: Event) -> None:
        if event.kind == "calibrate" and event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(fresh.with_emit(stop), expert)
    assert known_calibration(fresh, expert) is None
    made = {p: p.stat().st_mtime_ns for p in (fresh.settings.root / "images").rglob("*.png")}
    assert made
    assert calibrate_expert(fresh, CalibrateArgs(expert_id=expert.id)).fresh
    after = {p: p.stat().st_mtime_ns for p in (fresh.settings.root / "images").rglob("*.png")}
    assert {p: after[p] for p in made} == made


def test_what_does_not_fit_is_not_measured(fresh: Context, world: Path, tiny: ModuleType) -> None:
    """Its header decides, whatever family its card names."""
    file = world / "hub" / "flux-style" / "pytorch_lora_weights.safetensors"
    name = "transformer.single_transformer_blocks.0.attn.to_q.lora_{}.weight"
    save_file({name.format("A"): torch.ones(2, 8), name.format("B"): torch.ones(8, 2)}, file)
    tiny.manifest(world)
    scout(fresh)
    with pytest.raises(ToolFailed, match="base family flux1"):
        call(fresh, "calibrate_expert", {"expert_id": "world/flux-style"})
    with pytest.raises(ToolFailed, match="is a base"):
        call(fresh, "calibrate_expert", {"expert_id": "world/emoji-base"})


@pytest.mark.parametrize(
    ("shift", "level", "gain", "says"),
    [
        (0.01, 0.9, 0.9, "no effect"),
        (0.6, 0.1, 0.0, "does not do what the card says"),
        (0.6, 0.9, -0.2, "does not do what the card says"),
        (0.6, 0.9, 0.8, "works"),
        (0.6, 0.3, 0.3, "weak"),
        (0.6, 0.9, 0.1, "weak"),
        (None, 0.9, 0.8, "works"),
    ],
)
def test_verdicts(shift: float | None, level: float, gain: float, says: str) -> None:
    assert verdict(shift, level, gain, MeasureRules()) == says


def test_the_numbers_by_hand(ctx: Context) -> None:
    """Two probes, one strength better than the other: gain, best weight, fingerprint as computed on paper."""
    expert = ctx.store.expert("world/blueprint")
    (skill,) = expert.skills
    todo = [
        Probe(ReferencePrompt.of("pizza, blueprint style", {"subject": "pizza", "style": "blueprint"}), skill),
        Probe(ReferencePrompt.of("castle", {"subject": "castle"})),
    ]

    def judged(pizza: float, look: float) -> list[Verdict]:
        own = {"pizza": pizza, "blueprint": look}
        return [Verdict(score=min(own.values()), facets=own), Verdict(score=0.5, facets={"castle": 0.5})]

    scored = {0.0: judged(0.9, 0.1), 0.5: judged(0.9, 0.6), 1.0: judged(0.2, 0.95)}
    vectors = {
        0.0: np.array([[1, 0, 0], [1, 0, 0]], np.float32),
        0.5: np.array([[0.6, 0.8, 0], [0.6, 0, 0.8]], np.float32),
        1.0: np.array([[0, 1, 0], [0, 1, 0]], np.float32),
    }
    found = summed_up(expert, "here", todo, scored, vectors, MeasureRules())
    assert found.best_weight == 0.5  # at 1.0 the style is stronger, but the pizza is lost
    assert found.gain == {"blueprint": 0.5, "style": 0.5, "subject": 0.0}
    # Shifts (-.4, .8, 0) and (-.4, 0, .8) of length sqrt(.8); mean (-.4, .4, .4): cosine .48 / (sqrt(.8) sqrt(.48)).
    assert found.strength_shift == pytest.approx(0.8**0.5, abs=1e-3)
    assert found.consistency == pytest.approx(0.48 / (0.8 * 0.48) ** 0.5, abs=1e-3)
    assert np.allclose(found.direction, np.array([-1, 1, 1]) / 3**0.5, atol=1e-3)
    assert found.verdict == "works"
    assert {(s.strength, s.base, s.value) for s in found.scores} >= {(0.5, 0.1, 0.6), (1.0, 0.1, 0.2)}


def test_probes_test_every_claim(ctx: Context) -> None:
    shared = [ReferencePrompt.of(name, {"subject": name}) for name in ("pizza", "castle")]
    sea = probes(ctx.store.expert("world/sea-life"), shared)
    assert [(p.prompt.text, p.skill.name if p.skill else None) for p in sea] == [
        ("octopus", "octopus"),
        ("whale", "whale"),
        ("pizza", None),
        ("castle", None),
    ]
    look = probes(ctx.store.expert("world/blueprint"), shared)
    assert [p.prompt.text for p in look] == ["pizza, blueprint style", "castle, blueprint style", "pizza", "castle"]
    assert look[0].prompt.wanted == {"subject": "pizza", "style": "blueprint"}


def test_a_missing_skill_is_scouted_calibrated_and_then_judged(fresh: Context, tmp_path: Path) -> None:
    """Graph with a base only: the machine finds the experts, measures them, and uses none that does not work."""
    base = next(e for e in _registered(fresh, "emoji-base"))
    fresh.store.add_expert(base)
    result = generate("octopus", context=fresh, compare=False)
    visited = [e.node for e in result.trace if e.kind == "node"]
    assert visited.index("scout") < visited.index("calibrator")
    assert "planner" in visited[visited.index("calibrator") :]
    measured = {c.expert_id: c for c in fresh.store.calibrations()}
    assert {"world/sea-life", "world/sea-copy"} <= set(measured)
    usable = [i for i, c in measured.items() if c.usable]
    if usable:
        assert result.plan is not None
        assert {e.id for e in result.plan.experts} <= set(usable)
    else:
        assert result.status == "no image"
    assert not any(e.kind == "brain" and e.agent == "calibrator" for e in result.trace)


def _registered(ctx: Context, repo: str) -> list:
    from diffgraph.graph.experts.registration import register

    return register(ctx.source("world"), repo)


def test_an_uncalibrated_expert_is_measured_before_it_is_merged(
    make_settings: Callable[..., Settings], world: Path, tiny: ModuleType
) -> None:
    tiny.lora(world / "hub" / "birds", 21, "Birds", "- owl\n")
    tiny.manifest(world)
    with Context.open(make_settings(base=f"world:{world}")) as ctx:
        scout(ctx)
        assert ctx.store.calibrations("world/birds") == []
        result = generate("owl", context=ctx, compare=False)
        assert [e.node for e in result.trace if e.kind == "node"].count("calibrator") == 1
        (found,) = ctx.store.calibrations("world/birds")
        assert (result.plan is not None) == found.usable


def test_a_look_is_measured_without_its_trigger(fresh: Context) -> None:
    """The share that is left: the bare reference prompts' images at the best strength, scored for the look."""
    scout(fresh)
    expert = fresh.store.expert("world/blueprint")
    found = measure(fresh, expert)
    shared = references(fresh)
    todo = probes(expert, shared)
    seen: dict[bool, list[float]] = {True: [], False: []}
    for probe in todo:
        plan = plan_of(fresh, expert, probe, found.best_weight)
        (verdict,) = score_files(fresh, [image_path(fresh, plan.plan_id, 0)], [Wanted(facet="style", text="blueprint")])
        seen[probe.skill is not None].append(verdict.facets["blueprint"])
    assert len(seen[False]) == len(shared)
    assert found.unasked == {
        "blueprint": pytest.approx(min(1.0, float(np.mean(seen[False]) / np.mean(seen[True]))), abs=1e-3)
    }
    assert measure(fresh, fresh.store.expert("world/sea-life")).unasked == {}
