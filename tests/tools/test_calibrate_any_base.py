"""Calibration on bases of a user's own: what is measured, what is shared, and that no finished image is drawn twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffgraph_pico import brightness, killed_calibration
from diffgraph_pico.vision_server import Ways, serving
from PIL import Image

from diffgraph.agents.calibrator import calibrate
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.scout import scout
from diffgraph.bases.profile import MeasureRules
from diffgraph.errors import UserError
from diffgraph.graph.calibration.reference_prompts import pool
from diffgraph.merging.sampling.png_record import read_png
from diffgraph.scoring.request import Wanted
from diffgraph.settings import Settings
from diffgraph.tools.context import Context, Machinery
from diffgraph.tools.measure import measure, probes, references, shown_by_author
from diffgraph.tools.results import Measured, NotMeasured


def _settings(small: Any, home: Path, **more: Any) -> Settings:
    return Settings(base=str(small.base), sources=f"folder:{small.hub}", home=home, steps=2, device="cpu", **more)


RULES = MeasureRules(references=3, strengths=(0.0, 1.0))


def _briefly(ctx: Context) -> Context:
    """The same context, whose base is measured on few prompts."""
    profile = ctx.profile.model_copy(update={"measure": RULES})
    return replace(ctx, machinery=Machinery(ctx.settings, profile))


@pytest.fixture
def mine(pico: Callable[[str], Any], home: Path) -> Iterator[Context]:
    with Context.open(_settings(pico("sd15"), home, critic="brightness:sees", rounds=0)) as ctx:
        scout(ctx)
        yield _briefly(ctx)


def _images(ctx: Context) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (ctx.settings.root / "images").rglob("*.png")}


def test_reference_prompts_are_the_most_diverse_of_our_pool(mine: Context) -> None:
    shared = references(mine)
    assert len(shared) == 3
    assert {one.id for one in shared} <= {one.id for one in pool()}
    assert shared == references(mine)
    vectors = mine.store.embedder.embed([one.text for one in shared])
    alike = vectors @ vectors.T
    assert max(alike[i, k] for i in range(len(shared)) for k in range(i)) < 0.45
    assert mine.store.reference_prompts() == []


def test_an_expert_is_measured_by_whoever_fits_and_its_base_images_are_shared(mine: Context) -> None:
    style, scene = (next(e for e in mine.store.experts() if name in e.id) for name in ("pixel-art", "starry"))
    found = measure(mine, style)
    before = _images(mine)
    assert (found.base, found.critic) == (mine.machinery.base.sha256, mine.critic.identity)
    assert (found.direction, found.strength_shift, found.consistency) == ((), None, None)
    asked = {score.prompt_id for score in found.scores}
    assert asked == {probe.prompt.id for probe in probes(style, references(mine), 1)}
    assert style.examples
    measure(mine, scene)
    after = _images(mine)
    assert {path: after[path] for path in before} == before
    bare = [read_png(path).plan for path in before]
    shared = {plan.plan_id for plan in bare if plan is not None and not plan.experts}
    said = {text.text for text in references(mine)}
    plain = [plan for plan in bare if plan is not None and plan.plan_id in shared and plan.prompt in said]
    assert len(plain) == len(said)


def test_prompts_that_its_author_shows_come_first(mine: Context) -> None:
    (style,) = (e for e in mine.store.experts() if "pixel-art" in e.id)
    shown = ("<lora:pixel:0.8> pixel art style, (a harbor:1.2) at night, masterpiece", "a knight on a horse")
    expert = style.model_copy(update={"examples": shown})
    first, second, *rest = probes(expert, references(mine), 4)
    (skill,) = expert.skills
    assert [first.prompt.text, second.prompt.text] == [
        "pixel art style, (a harbor:1.2) at night, masterpiece",
        f"{skill.trigger}, a knight on a horse",
    ]
    assert {(w.facet, w.text) for w in first.wanted} == {
        ("style", skill.name), ("subject", "harbor"), ("background", "night"),
    }  # fmt: skip
    assert [p.prompt.text for p in rest if p.skill is None] == [r.text for r in references(mine)]
    assert probes(expert, references(mine), 0) == rest


def test_a_prompt_of_another_language_is_asked_as_a_whole(mine: Context) -> None:
    expert = next(e for e in mine.store.experts() if "pixel-art" in e.id)
    words = "pixel art, ein roter Fuchs und eine kleine Katze im Schnee"
    (probe,) = shown_by_author(expert.model_copy(update={"examples": (words,)}), 1)
    assert [(w.facet, w.text) for w in probe.wanted] == [("style", "pixel art"), ("prompt", words)]


def test_what_the_critic_cannot_tell_is_no_verdict(pico: Callable[[str], Any], home: Path) -> None:
    """A claim that it does not judge bans nobody; one that it judges is measured as ever."""
    with Context.open(_settings(pico("sd15"), home, critic="brightness:blind")) as whole:
        scout(whole)
        ctx = _briefly(whole)
        done = {one.expert.split("/")[1].split("-")[0]: one for one in calibrate(ctx)}
        assert isinstance(done["pixel"], NotMeasured)
        assert "cannot tell about what" in done["pixel"].failed
        assert isinstance(done["axolotl"], Measured)
        assert {c.expert_id for c in ctx.store.calibrations()} == {done["axolotl"].expert}


def test_answers_that_a_server_fails_to_give_are_no_verdict(
    pico: Callable[[str], Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ban nobody, and are asked for again."""
    with serving(Ways()) as ways:
        monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", ways.url)
        with Context.open(_settings(pico("sd15"), home, critic="vlm:openai:bright")) as whole:
            scout(whole)
            ctx = _briefly(whole)
            ctx.critic.score([Image.new("RGB", (8, 8))], [Wanted(facet="subject", text="fox")])
            ways.logprobs = "neither"
            done = calibrate(ctx)
            assert {type(one) for one in done} == {NotMeasured}
            assert ctx.store.calibrations() == []
            ways.logprobs = "told"
            assert {type(one) for one in calibrate(ctx)} == {Measured}


def test_a_plan_whose_images_are_there_in_part_draws_the_others(mine: Context) -> None:
    result = generate("a cat --size 64x64", context=mine, n=3, compare=False)
    assert result.plan is not None
    folder = mine.images_dir(result.rounds[0].plan_id)
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("*.png")}
    gone = sorted(kept)[1]
    pixels = gone.read_bytes()
    gone.unlink()
    again = generate("a cat --size 64x64", context=mine, n=3, compare=False)
    assert again.rounds[0].plan_id == result.rounds[0].plan_id
    now = {p: p.stat().st_mtime_ns for p in folder.glob("*.png")}
    assert {p: t for p, t in now.items() if p != gone} == {p: t for p, t in kept.items() if p != gone}
    assert gone.read_bytes() == pixels


def test_images_are_judged_by_the_atoms_of_the_users_words(mine: Context) -> None:
    result = generate("three red cats on a sofa --size 64x64", context=mine, compare=False)
    assert result.scores is not None
    (image,) = result.scores.images
    assert set(image.facets) == {"cat", "three cats", "red cat", "cat on a sofa", "sofa"}
    assert image.by == "the light"
    assert image.score == pytest.approx(brightness.brightness(read_png(result.images[0]).image), abs=2e-3)
    if image.score < 0.5:
        assert result.status == "best effort"
        assert "It does not show 'cat', 'three cats'" in result.message
    written = json.loads((result.run_dir / "result.json").read_text())
    assert written["scores"]["images"][0]["by"] == "the light"


def test_a_critic_that_fails_ends_a_request_politely(pico: Callable[[str], Any], home: Path) -> None:
    """With what it judged before, or with the images, called unjudged; its failure is told."""
    small, words = pico("sd15"), "a cat --size 64x64"
    with Context.open(_settings(small, home, critic="brightness:fails after 0")) as ctx:
        scout(ctx)
        result = generate(f"{words}, pixel art style", context=ctx)
    assert (result.status, len(result.images), result.scores) == ("unjudged", 1, None)
    assert "Nobody has judged the image. The critic failed" in result.message
    assert "The critic's server is gone." in result.message
    assert [one.score for one in result.comparison] == [None]
    with Context.open(_settings(small, home, critic="brightness:fails after 1", accept=1)) as ctx:
        result = generate(words, context=ctx)
    assert (result.status, len(result.images), len(result.rounds)) == ("best effort", 1, 1)
    assert any("The critic's server is gone." in note for note in result.notes)
    with Context.open(_settings(small, home, critic="brightness:fails after 1", accept=0, image_cost=0)) as ctx:
        result = generate("a dog --size 64x64", context=ctx)
    assert (result.status, len(result.rounds)) == ("accepted", 1)


def test_a_critic_that_is_misconfigured_costs_no_image(
    pico: Callable[[str], Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its files show is told before anything is drawn; what its server says, with the images."""
    small, words = pico("sd15"), "a cat --size 64x64"
    with Context.open(_settings(small, home, critic=f"clip:{small.base}")) as ctx:
        with pytest.raises(UserError, match=r"no \.safetensors file"):
            generate(words, context=ctx)
        assert _images(ctx) == {}
    with serving(Ways(key="right")) as ways:
        monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", ways.url)
        with Context.open(_settings(small, home, critic="vlm:openai:bright")) as ctx:
            result = generate(words, context=ctx)
    assert (result.status, len(result.images)) == ("unjudged", 1)
    assert "refuses the key (401)" in result.message


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux1"])
def test_a_calibration_that_is_killed_draws_no_finished_image_again(
    family: str, pico: Callable[[str], Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times, by SIGKILL, judged by a vision server; then the expert that was measured draws, with a verdict."""
    small, critic, words = pico(family), "vlm:openai:bright", "an axolotl in pixel art style"
    with serving(Ways()) as server:
        monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", server.url)
        told = _killed(small, home, critic)
        assert len(told["kills"]) == 10
        for snapshot in told["kills"]:
            assert {path: told["end"].get(path) for path in snapshot} == snapshot
        assert len(told["kills"][-1]) > 10
        assert len(told["found"]) == len(told["stored"]) == 3
        assert server.asked
        with Context.open(_settings(small, home, critic=critic, rounds=1)) as ctx:
            assert {c["critic"] for c in told["stored"]} == {ctx.critic.identity}
            assert {c["base"] for c in told["stored"]} == {ctx.machinery.base.sha256}
            result = generate(words, context=ctx, compare=False)
    assert result.status in ("accepted", "best effort")
    assert result.scores is not None
    assert set(result.scores.facets) == {"axolotl", "pixel art"}
    assert all("bright" in image.by for image in result.scores.images)
    with Context.open(_settings(small, home, critic="none")) as ctx:
        drawn = generate(words, context=ctx, compare=False)
        assert (drawn.status, len(drawn.images), drawn.scores) == ("unjudged", 1, None)


def _killed(small: Any, home: Path, critic: str) -> dict[str, Any]:
    script = Path(killed_calibration.__file__)
    done = subprocess.run(
        [sys.executable, str(script), str(small.base), str(small.hub), str(home), critic, "10", "7"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told
