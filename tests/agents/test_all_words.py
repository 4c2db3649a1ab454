"""Every word that a user types is sampled on an open base, or named: as an order, as ruled out, or with a reason.

``PROMPTS=FOLDER`` tries 500 prompts of ``prompts.jsonl`` in a folder, drawn by ``PROMPTS_SEED`` (0).
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from diffgraph.agents.runs.generate import plan
from diffgraph.agents.scout import scout
from diffgraph.settings import Settings
from diffgraph.tools.context import Context

FOLDER = os.environ.get("PROMPTS", "")
SEED = int(os.environ.get("PROMPTS_SEED", "0"))
_WORD = re.compile(r"[^\W_]+")


@pytest.fixture(scope="module")
def opened(pico: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A small SDXL with three LoRAs."""
    small = pico("sdxl")
    home = tmp_path_factory.mktemp("words")
    with Context.open(Settings(base=str(small.base), sources=f"folder:{small.hub}", home=home)) as ctx:
        scout(ctx)
        yield ctx


def lost(prompt: str, ctx: Context) -> Counter[str]:
    """Words of a prompt that are neither sampled nor named."""
    found = plan(prompt, context=ctx)
    sampled = found.plan.prompt if found.plan else ""
    assert all(part.why for part in found.aside if part.kind == "left out")
    assert found.uncovered == ()
    named = " ".join([sampled, *(part.text for part in found.aside)])
    return Counter(_WORD.findall(prompt)) - Counter(_WORD.findall(named))


_PIECES = st.sampled_from(
    [
        "a red fox", "pixel art style", "an axolotl", "under a starry night", "(film grain:1.3)", "((sharp))",
        "[soft]", "seed 7",
        "without a hat", "no humans", "not in neon", "anything but a dog", "--no cars", "--ar 16:9", "--seed 42",
        "<lora:axolotl:0.7>", "<lora:nothing:1>", "<hypernet:x:1>", "BREAK", "AND", "[a fox:a wolf:0.5]", "[cat|dog]",
        'a sign that says "no dogs"', "negative prompt: blurry, ugly", "Steps: 20, Sampler: Euler a, Seed: 3", "::2",
        "--stylize 250", "--whatever", "ein Hund ohne Hut", "猫、ドット絵", "кошка без шляпы", "밤하늘",
        "🦑", "\\(series\\)",
        "embedding:easy", "steps 30", "4k", "score_9, score_8_up", "1girl", "(", ")", ",,", ".", "x", "-", "don't",
        "wordword:1.2", "{a|b}", "neither a cat nor a dog", "rather than neon", "sugar-free cake", "512x768",
    ]
)  # fmt: skip
_TEXTS = st.lists(_PIECES | st.text(max_size=12), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TEXTS, st.sampled_from([", ", " ", "\n", " | "]))
@example(["a red fox", "without a hat", "ein Hund ohne Hut"], ", ").via("what is left is of another language")
def test_no_word_of_any_text_is_lost(opened: Context, pieces: list[str], joint: str) -> None:
    prompt = " ".join("".join(c if c.isprintable() else " " for c in joint.join(pieces)).split())
    if prompt:
        assert not lost(prompt, opened)


@pytest.mark.skipif(not FOLDER, reason="PROMPTS names no folder with a prompts.jsonl")
def test_no_word_of_real_prompts_is_lost(opened: Context) -> None:
    lines = (Path(FOLDER) / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = random.Random(SEED).sample([json.loads(line)["prompt"] for line in lines], 500)
    bad = {prompt: dict(words) for prompt in prompts if (words := lost(prompt, opened))}
    assert not bad
