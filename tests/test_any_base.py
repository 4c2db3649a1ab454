"""Any base from words to pixels: every family × every step a user takes, through the command line's own functions.

The bases are pico pipelines of the real classes with LoRAs in a folder of repositories with cards (``tests/pico``). A
family's steps follow each other as a user's do, each done once and shared: a cell fails for its own step, or because
one before it did. ``pytest tests/test_any_base.py`` runs the table; rows marked slow come with ``-m ''``.
"""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffgraph_pico import single_files
from diffusers import DiffusionPipeline
from PIL import Image
from typer.testing import CliRunner, Result

from diffgraph.agents.chat.repl import chat
from diffgraph.cli.main import app
from diffgraph.settings import Settings
from diffgraph.terminal import CleanConsole

QUICK = ("sd15", "sd21", "sdxl", "sd3", "flux1", "flux2", "flux2_klein", "qwen", "z_image")
OTHERS = ("chroma", "auraflow", "lumina2", "sana", "hidream")
FAMILIES = (*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS))
ARCHITECTURE = {"flux2_klein": "flux2", "qwen": "qwen_image"}
"""Family -> the architecture its base is told to have, where that is not its name here."""
SINGLE = {"axolotl": "subject", "pixel-art": "style"}
PROMPT = "a red axolotl in pixel art style"
SIZES = {"hidream": 1024}
"""Pixels a side; what a family cannot draw smaller."""
FIXED: dict[str, dict[str, Any]] = {
    "qwen": {"true_cfg_scale": "guidance_scale", "negative_prompt": " "},
    "sana": {"use_resolution_binning": False},
}
"""How plain diffusers is called where its defaults are not what the makers say, or change the size."""


class Journey:
    """A user's steps with one base, in a home of their own; each is taken once, when it is first asked for."""

    def __init__(self, own: Any, home: Path) -> None:
        self.own, self.home = own, home

    @property
    def side(self) -> int:
        return SIZES.get(self.own.name, 64)

    @property
    def small(self) -> tuple[str, ...]:
        return ("--size", f"{self.side}x{self.side}", "--steps", "2")

    def run(self, *words: object) -> Result:
        """A command as typed; its output and exit code. What is no sentence of ours is raised."""
        done = CliRunner().invoke(app, [str(word) for word in words], prog_name="diffgraph")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def document(self, *words: object, code: int = 0) -> dict[str, Any]:
        """The JSON document that a command prints."""
        done = self.run(*words, "--json")
        assert done.exit_code == code, done.output
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    @functools.cached_property
    def added(self) -> dict[str, Any]:
        return self.document("base", "add", self.own.base)

    @functools.cached_property
    def experts(self) -> dict[str, dict[str, Any]]:
        """Short name -> expert."""
        assert self.added
        scouted = self.run("scout", self.own.hub)
        assert scouted.exit_code == 0, scouted.output
        listed = self.document("experts")["experts"]
        return {name: one for one in listed for name in ("axolotl", "pixel-art", "starry") if name in one["id"]}

    @functools.cached_property
    def proposed(self) -> dict[str, Any]:
        assert self.experts
        return self.document("plan", PROMPT, "--seed", 7, *self.small)

    @functools.cached_property
    def generated(self) -> dict[str, Any]:
        assert self.experts
        return self.document("generate", PROMPT, "--seed", 7, "-n", 2, "--no-compare", *self.small)

    @functools.cached_property
    def image(self) -> Path:
        return Path(self.generated["images"][0])

    @functools.cached_property
    def plan_file(self) -> Path:
        return self.image.parent / "plan.json"

    @functools.cached_property
    def merged(self) -> Path:
        folder = self.home / "merged"
        done = self.run("merge", self.plan_file, "-o", f"{folder}/")
        assert done.exit_code == 0, done.output
        return folder


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, pico: Callable[[str], Any]) -> Callable[[str], Journey]:
    return functools.cache(lambda name: Journey(pico(name), tmp_path_factory.mktemp(f"home_{name}")))


@pytest.fixture
def journey(request: pytest.FixtureRequest, homes: Any, monkeypatch: pytest.MonkeyPatch) -> Journey:
    found: Journey = homes(request.param)
    monkeypatch.setenv("DIFFGRAPH_HOME", str(found.home))
    return found


families = pytest.mark.parametrize("journey", FAMILIES, indirect=True)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@families
def test_a_base_is_known_by_being_named(journey: Journey) -> None:
    name = journey.own.name
    assert journey.added["architecture"] == ARCHITECTURE.get(name, "sd21" if name == "sd21" else name)
    assert journey.added["family"] != "generic"
    assert journey.added["vocabulary"] == "open"
    shown = journey.document("base", "show")
    assert shown["where"] == str(journey.own.base)
    assert shown["key"] == journey.added["key"]


@families
def test_the_scout_registers_what_a_folder_of_repositories_holds(journey: Journey) -> None:
    assert set(journey.experts) == {"axolotl", "pixel-art", "starry"}
    assert {one["base_family"] for one in journey.experts.values()} == {journey.added["architecture"]}
    assert [skill["trigger"] for skill in journey.experts["axolotl"]["skills"]] == ["axolotl"]


@families
def test_experts_tells_one(journey: Journey) -> None:
    found = journey.document("expert", journey.experts["pixel-art"]["id"])
    assert found["expert"]["id"] == journey.experts["pixel-art"]["id"]


@families
def test_a_plan_has_the_users_words_and_the_experts_they_call_for(journey: Journey) -> None:
    plan = journey.proposed["plan"]
    assert {one["id"] for one in plan["experts"]} == {journey.experts[name]["id"] for name in SINGLE}
    assert all(word in plan["prompt"] for word in PROMPT.split())
    assert journey.proposed["uncovered"] == []
    assert (plan["sampler"]["width"], plan["sampler"]["height"], plan["sampler"]["steps"]) == (
        journey.side,
        journey.side,
        2,
    )


@families
def test_a_plan_can_be_checked_without_weights(journey: Journey) -> None:
    path = journey.home / "proposed.json"
    path.write_text(json.dumps(journey.proposed["plan"]))
    report = journey.document("plan", "--check", path)
    assert report["ok"]


@families
def test_generate_draws(journey: Journey) -> None:
    assert len(journey.generated["images"]) == 2
    one, two = (pixels(Path(image)) for image in journey.generated["images"])
    assert one.shape == (journey.side, journey.side, 3)
    assert one.std() > 1
    assert np.abs(one - two).max() > 0
    plan = json.loads(journey.plan_file.read_text())
    assert {one["id"] for one in plan["experts"]} == {journey.experts[name]["id"] for name in SINGLE}
    assert journey.generated["status"] == "unjudged"


@families
def test_the_experts_show(journey: Journey) -> None:
    plan = json.loads(journey.plan_file.read_text())
    bare = journey.home / "bare.json"
    bare.write_text(json.dumps({**{k: v for k, v in plan.items() if k != "plan_id"}, "experts": []}))
    done = journey.document("render", bare)
    assert np.abs(pixels(Path(done["images"][0])) - pixels(journey.image)).max() > 2


@families
def test_render_draws_an_edited_plan(journey: Journey) -> None:
    plan = json.loads(journey.plan_file.read_text())
    plan.pop("plan_id", None)
    plan["sampler"]["steps"] = 3
    path = journey.home / "edited.json"
    path.write_text(json.dumps(plan))
    images = journey.document("render", path)["images"]
    assert pixels(Path(images[0])).shape == (journey.side, journey.side, 3)
    assert np.abs(pixels(Path(images[0])) - pixels(journey.image)).max() > 0


@families
def test_replay_is_the_same_to_the_bit(journey: Journey) -> None:
    for image in journey.generated["images"]:
        done = journey.run("replay", image)
        assert done.exit_code == 0, done.output


@families
def test_chat_draws(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    assert journey.experts
    lines = ["/seed 7", "/experts", f"{PROMPT} --size {journey.side}x{journey.side} --steps 2", "/quit"]
    out = io.StringIO()
    chat(Settings.load(), console=CleanConsole(file=out, width=200), read=lambda sign: lines.pop(0))
    text = out.getvalue()
    assert "axolotl" in text
    assert "index.html" in text, text


@families
def test_a_merged_folder_is_a_base_for_plain_diffusers(journey: Journey) -> None:
    plan = json.loads(journey.plan_file.read_text())
    pipe = DiffusionPipeline.from_pretrained(journey.merged, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    sampler = plan["sampler"]
    said = {"prompt": plan["prompt"], "guidance_scale": sampler["guidance"]} | FIXED.get(journey.own.name, {})
    if "true_cfg_scale" in said:
        said["true_cfg_scale"] = said.pop("guidance_scale")
    image = pipe(
        **said,
        num_inference_steps=sampler["steps"],
        width=sampler["width"],
        height=sampler["height"],
        generator=torch.Generator("cpu").manual_seed(plan["seeds"][0]),
    ).images[0]
    assert np.abs(np.asarray(image).astype(int) - pixels(journey.image)).max() <= 1


@pytest.mark.parametrize("journey", single_files.WRITERS, indirect=True)
def test_a_single_file_draws_as_its_folder_does(journey: Journey) -> None:
    """All in one (Stable Diffusion), or a transformer alone that takes its other parts from a folder."""
    assert journey.image.is_file()
    file = single_files.WRITERS[journey.own.name](journey.own.base, journey.home / "my-model.safetensors")
    added = journey.document("base", "add", file, "--parts", journey.own.base)
    assert (added["kind"], added["name"]) == ("file", "my-model")
    assert {added[name] == journey.added[name] for name in ("architecture", "family", "steps", "guidance")} == {True}
    words = ("--seed", 7, "--no-compare", *journey.small)
    drawn = journey.document("generate", PROMPT, "-n", 2, "--base", "my-model", *words)
    assert np.array_equal(pixels(Path(drawn["images"][0])), pixels(journey.image))


@families
def test_calibrate_is_refused_plainly_while_no_critic_fits(journey: Journey) -> None:
    assert journey.experts
    done = journey.run("calibrate", "--all")
    assert done.exit_code != 0
    assert "critic" in done.output
    assert "Traceback" not in done.output


@families
def test_doctor_tells_of_the_base(journey: Journey) -> None:
    assert journey.experts
    text = journey.run("doctor").output
    assert journey.added["name"] in text
    assert os.sep + "emoji" not in text
