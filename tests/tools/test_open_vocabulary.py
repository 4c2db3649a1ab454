"""The tools on a base of open vocabulary, and whose words count where a brain says others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.agents.scout import scout
from diffgraph.errors import ToolRetry
from diffgraph.settings import Settings
from diffgraph.tools.activate_experts import ActivateArgs, activate_experts
from diffgraph.tools.check_plan import PlanArgs, check_plan
from diffgraph.tools.context import Context, Job, Machinery
from diffgraph.tools.fitting import misfit
from diffgraph.tools.propose_plan import Choice, ProposeArgs, propose_plan
from diffgraph.tools.results import ActivationResult
from diffgraph.tools.score_images import wanted_of
from diffgraph.tools.search_experts import SearchArgs, search_experts


@pytest.fixture
def mine(pico: Callable[[str], Any], home: Path) -> Iterator[Context]:
    """A small SDXL with three LoRAs."""
    small = pico("sdxl")
    with Context.open(Settings(base=str(small.base), sources=f"folder:{small.hub}", home=home)) as ctx:
        scout(ctx)
        yield ctx


def activated(ctx: Context, prompt: str, said: str = "") -> tuple[Context, ActivationResult]:
    """The context at work on a prompt that a brain handed on as ``said``."""
    ctx = ctx.with_job(Job(prompt=prompt))
    found = activate_experts(ctx, ActivateArgs(prompt=said or prompt))
    return ctx.with_job(replace(ctx.job, activation=found)), found


def wanted(found: ActivationResult) -> list[tuple[str, str]]:
    return [(w.facet, w.text) for w in wanted_of(found)]


def named(ctx: Context, name: str) -> str:
    return next(e.id for e in ctx.store.experts(ctx.family) if name in e.id)


def test_a_brains_paraphrase_never_replaces_what_the_user_asks_for(ctx: Context) -> None:
    _, found = activated(ctx, "octopus", "pizza")
    assert wanted(found) == [("subject", "octopus")]
    assert found.read == "octopus"
    _, nothing = activated(ctx, "an aardvark", "pizza")
    assert (nothing.facets, nothing.uncovered) == ((), ("aardvark",))


def test_a_translation_is_believed_of_a_language_that_is_not_read(ctx: Context) -> None:
    _, found = activated(ctx, "청사진 스타일의 문어", "octopus, blueprint style")
    assert wanted(found) == [("subject", "octopus"), ("style", "blueprint style")]
    assert found.read == "octopus, blueprint style"


def test_a_translation_finds_experts_and_leaves_the_words(mine: Context) -> None:
    mine, found = activated(mine, "픽셀 아트 고양이", "a cat, pixel art style")
    proposal = propose_plan(mine, ProposeArgs())
    assert proposal.prompt == "pixel art style, 픽셀 아트 고양이"
    assert wanted(found)[-1] == ("prompt", "픽셀 아트 고양이")
    mine, found = activated(mine, "a red car", "an axolotl in pixel art style")
    assert propose_plan(mine, ProposeArgs()).prompt == "a red car"
    assert found.experts == ()


def test_the_image_is_judged_for_what_was_asked(mine: Context) -> None:
    _, found = activated(mine, "an axolotl in a red car, pixel art style")
    assert wanted(found) == [
        ("subject", "axolotl"),
        ("relation", "axolotl in a red car"),
        ("subject", "car"),
        ("attribute", "red car"),
        ("style", "pixel art"),
    ]


def test_a_brain_changes_the_experts_and_never_the_words(mine: Context) -> None:
    mine, _ = activated(mine, "a lighthouse by the sea")
    hits = search_experts(mine, SearchArgs(query="stars at night")).hits
    starry, pixel = named(mine, "starry"), named(mine, "pixel")
    assert starry in {hit.expert for hit in hits}
    choice = [Choice(id=starry, weight=0.4), Choice(id=pixel)]
    proposal = propose_plan(mine, ProposeArgs(experts=choice))
    assert proposal.prompt == "starry night background, pixel art style, a lighthouse by the sea"
    assert {e.id: e.weight for e in proposal.experts} == {starry: 0.4, pixel: 0.8}
    assert check_plan(mine, PlanArgs(plan_id=proposal.plan_id)).ok


@pytest.mark.parametrize(
    ("position", "prompt"),
    [
        ("front", "pixel art style, A lighthouse in pixel art."),
        ("end", "A lighthouse in pixel art. pixel art style"),
    ],
)
def test_triggers_stand_where_the_family_wants_them(
    pico: Callable[[str], Any], home: Path, position: str, prompt: str
) -> None:
    small = pico("flux1")
    with Context.open(Settings(base=str(small.base), sources=f"folder:{small.hub}", home=home)) as ctx:
        scout(ctx)
        profile = ctx.profile.model_copy(update={"trigger_position": position})
        ctx, found = activated(
            replace(ctx, machinery=Machinery(ctx.settings, profile)), "A lighthouse in pixel art, without people."
        )
        assert propose_plan(ctx, ProposeArgs()).prompt == prompt
        assert [(u.text, u.why) for u in found.unmet] == [("people", "this base takes no negative prompt")]


def test_the_header_decides_what_fits(mine: Context, tmp_path: Path) -> None:
    """An expert of a family that nobody can tell is merged if all of it fits, and refused by what does not."""
    expert = next(e for e in mine.store.experts(mine.family) if "pixel" in e.id)
    unknown = expert.model_copy(update={"id": "folder/unknown", "base_family": "unknown"})
    assert misfit(mine, unknown) == ""
    mine.store.add_expert(unknown)
    ready, _ = activated(mine, "a lighthouse <lora:unknown:0.5>")
    proposal = propose_plan(ready, ProposeArgs())
    assert [(e.id, e.weight) for e in proposal.experts] == [("folder/unknown", 0.5)]
    assert check_plan(ready, PlanArgs(plan_id=proposal.plan_id)).ok

    (hub := tmp_path / "hub" / "alien").mkdir(parents=True)
    name = "transformer.single_transformer_blocks.0.attn.to_q.lora_{}.weight"
    tensors = {name.format("A"): torch.ones(2, 8), name.format("B"): torch.ones(8, 2)}
    save_file(tensors, hub / "pytorch_lora_weights.safetensors")
    settings = mine.settings.model_copy(update={"sources": f"folder:{hub.parent}"})
    with Context.open(settings) as other:
        (alien,), _ = scout(other)
        assert "nothing of expert" in misfit(other, alien)
        ready, found = activated(other, "a lighthouse <lora:alien:0.5>")
        assert "does not fit this base" in found.unmet[0].why
        with pytest.raises(ToolRetry, match="leave it out"):
            propose_plan(ready, ProposeArgs(experts=[Choice(id=alien.id)]))


def test_what_experts_bring_goes_beside_the_users_own_negative(mine: Context) -> None:
    expert = next(e for e in mine.store.experts(mine.family) if "pixel" in e.id)
    mine.store.add_expert(expert.model_copy(update={"negative": "photo, blurry,", "weight": 0.65}))
    ready, _ = activated(mine, "a lighthouse without people, pixel art style")
    plan = ready.load_plan(propose_plan(ready, ProposeArgs()).plan_id)
    assert plan.negative_prompt == "people, photo, blurry"
    assert [e.weight for e in plan.experts] == [0.65]
