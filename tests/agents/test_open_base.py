"""A request on a base of a user's own, from the words to the image: the small pipelines of real families."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgraph.agents.calibrator import calibrate
from diffgraph.agents.runs.generate import generate, plan
from diffgraph.agents.runs.result import RunResult, read_result
from diffgraph.agents.scout import scout
from diffgraph.errors import NoCritic, UserError
from diffgraph.graph.calibration.record import Calibration
from diffgraph.settings import Settings
from diffgraph.tools.context import Context


@pytest.fixture
def mine(pico: Callable[[str], Any], home: Path) -> Iterator[Context]:
    """A small SD1.5 that nobody has heard of, with three LoRAs; drawn in two steps at 64 pixels."""
    small = pico("sd15")
    with Context.open(_settings(small, home)) as ctx:
        scout(ctx)
        yield ctx


def _settings(small: Any, home: Path, **more: Any) -> Settings:
    return Settings(base=str(small.base), sources=f"folder:{small.hub}", home=home, steps=2, device="cpu", **more)


def _experts(found: Any) -> list[tuple[str, float]]:
    return [(e.id.rsplit("/", 1)[1].rsplit("-", 2)[0], round(e.weight, 2)) for e in found.plan.experts]


def test_the_users_own_words_are_drawn_once_and_called_unjudged(mine: Context) -> None:
    words = "a photo of a cat in front of an old house, pixel art style, not blurry --size 64x64"
    result = generate(words, context=mine, n=2)
    assert result.plan is not None
    assert (result.status, len(result.images), result.rounds, result.scores) == ("unjudged", 2, (), None)
    assert result.plan.prompt == "a photo of a cat in front of an old house, pixel art style"
    assert result.plan.negative_prompt == "blurry"
    assert _experts(result) == [("pixel-art", 0.8)]
    assert (result.uncovered, result.left_to_base) == ((), ("cat", "old house"))
    assert "Nobody has judged the images" in result.message
    assert "DIFFGRAPH_CRITIC" in result.message
    assert "Never measured here was folder/pixel-art" in result.message
    written = json.loads((result.run_dir / "result.json").read_text())
    assert (written["status"], written["scores"], written["left_to_base"]) == ("unjudged", {}, ["cat", "old house"])
    assert [(c["label"], c["score"], c["images"]) for c in written["comparison"]] == [("base alone", None, [])]
    assert (result.run_dir / written["comparison"][0]["file"]).is_file()
    again = read_result(result.run_dir)
    assert again.comparison == result.comparison
    assert (again.status, again.left_to_base) == ("unjudged", ("cat", "old house"))
    page = result.page.read_text()
    assert "nobody has judged" in page
    assert "not judged" in page
    assert "base alone" in page
    assert [r for r in mine.store.runs() if r.accepted] == []


def test_nothing_is_refused_for_being_unknown(pico: Callable[[str], Any], home: Path) -> None:
    """No expert at all, nothing in the graph: the base alone draws what it is told."""
    with Context.open(_settings(pico("sd15"), home)) as ctx:
        for words in ("a zyzzyva on a vending machine", "🦑", "밤하늘 아래 고양이", "a red car", "pixel art style"):
            found = plan(words, context=ctx)
            assert found.plan is not None
            assert (found.plan.prompt, found.plan.experts, found.uncovered) == (words, (), ())
        drawn = generate("a zyzzyva, 64x64", context=ctx)
    assert drawn.status == "unjudged"
    assert "the base draws this alone" in drawn.message


def test_a_prompt_of_orders_alone_has_nothing_to_draw(mine: Context) -> None:
    result = generate("--no hats --seed 4", context=mine)
    assert (result.status, result.images) == ("no image", ())
    assert "nothing to draw" in result.message


def test_without_a_fitting_critic_nothing_is_measured_and_nobody_banned(mine: Context) -> None:
    with pytest.raises(NoCritic, match="DIFFGRAPH_CRITIC"):
        list(calibrate(mine))
    assert mine.store.calibrations() == []
    assert mine.store.reference_prompts() == []


def test_with_a_critic_the_image_is_judged_for_the_users_own_words(
    pico: Callable[[str], Any], home: Path, shared_world: Path
) -> None:
    """Whoever names a folder of weights says that they fit. Nobody is measured unasked: that takes a real base long."""
    small = pico("sd15")
    critic = f"dual_encoder:{shared_world / 'scorers' / 'critic'}"
    with Context.open(_settings(small, home, critic=critic, rounds=1)) as ctx:
        scout(ctx)
        result = generate("two pizzas in pixel art style --size 64x64", context=ctx, compare=False)
        assert ctx.store.calibrations() == []
    assert result.status in ("accepted", "best effort")
    assert result.scores is not None
    assert set(result.scores.facets) == {"pizza", "pixel art"}
    said = " ".join(finding for image in result.scores.images for finding in image.findings)
    assert "does not judge the facet 'count' ('two pizzas')" in said
    assert result.plan is not None
    assert result.plan.prompt == "two pizzas in pixel art style"
    assert {r.plan_id for r in result.rounds} >= {result.plan.plan_id}


def test_a_critic_that_does_not_fit_is_refused_by_name(
    pico: Callable[[str], Any], home: Path, shared_world: Path
) -> None:
    with (
        Context.open(_settings(pico("sd15"), home, critic=f"world:{shared_world}")) as ctx,
        pytest.raises(UserError, match="is not for what the base in"),
    ):
        generate("a cat", context=ctx)


def test_none_is_a_critic_of_no_base_at_all(make_settings: Callable[..., Settings]) -> None:
    with Context.open(make_settings(critic="none")) as ctx:
        result: RunResult = generate("octopus, blueprint style", context=ctx)
    assert (result.status, len(result.images), result.scores) == ("unjudged", 1, None)
    assert result.plan is not None
    assert len(result.plan.experts) == 2


def test_a_ban_by_a_critic_that_nobody_knows_does_not_count(mine: Context) -> None:
    (expert,) = (e for e in mine.store.experts() if "pixel" in e.id)
    ban = Calibration(
        expert_id=expert.id,
        expert_sha256=expert.sha256,
        plan_context_hash="x",
        verdict="does not do what the card says",
    )
    mine.store.put_calibration(ban)
    assert _experts(plan("a cat, pixel art style", context=mine)) == [("pixel-art", 0.8)]
    known = {"plan_context_hash": "y", "base": mine.machinery.base.sha256, "critic": "one that fitted"}
    mine.store.put_calibration(ban.model_copy(update=known))
    found = plan("a cat, pixel art style", context=mine)
    assert found.plan is not None
    assert found.plan.experts == ()
    assert [r.why for r in found.rejected] == ["calibration found: does not do what the card says"]
    mine.store.put_calibration(
        ban.model_copy(update={**known, "plan_context_hash": "z", "verdict": "works", "best_weight": 0.6})
    )
    assert _experts(plan("a cat, pixel art style", context=mine)) == [("pixel-art", 0.6)]


def test_a_plan_says_what_a_run_will_leave_out(pico: Callable[[str], Any], home: Path, tmp_path: Path) -> None:
    """A LoRA of other shapes than the base's: its name and its words promise what its file does not hold."""
    small = pico("sd15")
    hub = Path(shutil.copytree(small.hub, tmp_path / "hub"))
    file = next(path for path in hub.rglob("*.safetensors") if "pixel" in str(path))
    tensors = {
        name: torch.cat([t, t], dim=-1) if "down" in name or "lora_A" in name else t
        for name, t in load_file(file).items()
    }
    save_file(tensors, file)
    settings = Settings(base=str(small.base), sources=f"folder:{hub}", home=home, steps=2, device="cpu")
    words = "a photo of a cat, pixel art style, 64x64"
    with Context.open(settings) as ctx:
        scout(ctx)
        found = plan(words, context=ctx)
        drawn = generate(words, context=ctx, compare=False)
    assert drawn.plan is not None
    assert drawn.plan.experts == ()
    assert found.plan is not None
    (promised,) = found.plan.experts
    assert any("pixel" in note for note in drawn.notes)
    (said,) = [note for note in found.notes if promised.id in note]
    assert said.startswith(f"A run leaves {promised.id} out: ")
    assert said.partition(" out: ")[2] in drawn.notes
