"""Prompts as people type them, on every family: what the plan then holds, and what is named as not obeyed.

Nothing is refused for being unknown; no expert is taken that the words do not call for; every order is in the plan, or
named with a reason.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from diffgraph.agents.runs.generate import plan
from diffgraph.bases import registry
from diffgraph.graph.experts.registration import register
from diffgraph.graph.experts.sources.folder import Folder
from diffgraph.settings import Settings
from diffgraph.tools.context import Context

FAMILIES = ("sd15", "sd21", "sdxl", "sd3", "flux1", "flux2", "flux2_klein", "qwen", "z_image")


@dataclass(frozen=True)
class Typed:
    """A prompt and what its plan must hold.

    Attributes:
        text: as typed.
        experts: those that the words call for -> weight; None: whatever the expert is taken at.
        prompt: what is sampled, without triggers that were put in; "" is the text itself.
        negative: what is kept out: in the negative prompt, or named where the family has none.
        sampler: what the plan's sampler must say.
        seeds: of the images.
        aspect: of width to height, to a tenth.
        named: what is said not to be obeyed, on every family.
    """

    text: str
    experts: dict[str, float | None] = field(default_factory=dict)
    prompt: str = ""
    negative: tuple[str, ...] = ()
    sampler: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    aspect: float | None = None
    named: tuple[str, ...] = ()


TYPED = {
    "tags and weights": Typed(
        "masterpiece, best quality, 1girl, solo, long hair, (blue eyes:1.2), ((smile)), school uniform, "
        "cherry blossoms, depth of field, looking at viewer"
    ),
    "a LoRA's tag": Typed("a lighthouse at dusk <lora:axolotl:0.7>", {"axolotl": 0.7}, prompt="a lighthouse at dusk"),
    "a LoRA's tag that nobody has": Typed(
        "a lighthouse <lora:nobodyHasThis_v3:0.7>", prompt="a lighthouse", named=("nobodyHasThis_v3",)
    ),
    "options of another program": Typed(
        "a fox in the snow, pixel art style --ar 16:9 --seed 11 --no people",
        {"pixel-art": None},
        prompt="a fox in the snow, pixel art style",
        negative=("people",),
        seeds=(11,),
        aspect=16 / 9,
    ),
    "a negative prompt": Typed(
        "a cabin in the woods\nNegative prompt: blurry, low quality, text",
        prompt="a cabin in the woods",
        negative=("blurry", "low quality", "text"),
    ),
    "quotes": Typed('a shop sign that says "AXOLOTL CAFE", dim light'),
    "German": Typed(
        "Ein Axolotl im Pixel-Art-Stil vor einem Sternenhimmel", {"axolotl": None, "pixel-art": None, "starry": None}
    ),
    "anime scores": Typed("score_9, score_8_up, score_7_up, source_anime, 1girl, silver hair, fox ears"),
    "BREAK": Typed(
        "a castle on a hill BREAK starry night background BREAK oil painting",
        {"starry": None},
        prompt="a castle on a hill starry night background oil painting",
        named=("BREAK",),
    ),
    "a question": Typed("can you draw me an axolotl playing soccer?", {"axolotl": None}),
    "an instruction": Typed("Draw a whale in the style of a 1920s travel poster. Keep the background plain."),
    "without": Typed("a city street without cars, in the rain", negative=("cars",)),
    "not in a style": Typed("an axolotl, but not in pixel art style", {"axolotl": None}, negative=("pixel art style",)),
    "numbers": Typed(
        "a red fox, seed 42, 768x512, 20 steps, cfg 4",
        prompt="a red fox",
        sampler={"width": 768, "height": 512, "steps": 20},
        seeds=(42,),
    ),
}


@pytest.fixture(scope="module")
def contexts(pico: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A family's open context, over its pico base and its experts."""
    stack = contextlib.ExitStack()

    @functools.cache
    def make(name: str) -> Context:
        own, home = pico(name), tmp_path_factory.mktemp(f"typed_{name}")
        ctx = stack.enter_context(Context.open(Settings(home=home, base=str(own.base))))
        source = Folder(own.hub)
        ctx.store.add_experts([one for found in source.list() for one in register(source, found.repo)])
        return ctx

    with stack:
        yield make


@pytest.mark.parametrize("case", TYPED)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_people_type(contexts: Any, name: str, case: str) -> None:
    wanted, ctx = TYPED[case], contexts(name)
    found = plan(wanted.text, context=ctx)
    made = found.plan
    assert made is not None, "refused"
    assert found.uncovered == ()
    taken = {one.id.partition("/")[2].rpartition(f"-{name}")[0]: one.weight for one in made.experts}
    assert set(taken) == set(wanted.experts)
    assert all(weight in (None, taken[expert]) for expert, weight in wanted.experts.items())
    named = " ".join(order.text for order in found.unmet)
    profile = registry.chosen(ctx.settings.base, ctx.settings.root)
    for text in wanted.negative:
        assert text in (made.negative_prompt if profile.negative_prompt else named)
    if not wanted.negative:
        assert made.negative_prompt == ""
        sampled = wanted.prompt or wanted.text
        assert sampled in made.prompt
        added = made.prompt.replace(sampled, "").strip(", ").split(", ")
        assert set(added) <= {"", "axolotl", "pixel art style", "starry night background"}
    assert {k: getattr(made.sampler, k) for k in wanted.sampler} == wanted.sampler
    assert wanted.seeds in (None, made.seeds)
    if wanted.aspect is not None:
        assert made.sampler.width / made.sampler.height == pytest.approx(wanted.aspect, rel=0.05)
    for text in wanted.named:
        assert text in named
    if not wanted.named and profile.negative_prompt:
        assert named == ""
