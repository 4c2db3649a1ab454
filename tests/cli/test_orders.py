"""Orders as options, and ``render``: the command line as a person meets it, on small bases of families."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner, Result

from diffgraph.cli.main import app
from diffgraph.merging.plan.foreign.a1111 import recipe_of
from diffgraph.merging.plan.foreign.image_text import read_texts

Run = Callable[..., Result]


@pytest.fixture
def run(pico: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line over the small SDXL, its three LoRAs scouted."""
    small = pico("sdxl")
    monkeypatch.setenv("DIFFGRAPH_BASE", str(small.base))
    monkeypatch.setenv("DIFFGRAPH_DEVICE", "cpu")
    monkeypatch.setenv("DIFFGRAPH_CRITIC", "none")

    def diffgraph(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="diffgraph")

    assert diffgraph("scout", small.hub).exit_code == 0
    return diffgraph


ORDERS = (
    "--expert", "axolotl-sdxl:0.5:0.7", "--expert", "starry-sdxl", "--without", "pixel-art-sdxl", "--size", "64x96",
    "--steps", 2, "--guidance", 4, "--sampler", "Euler a", "--negative", "blurred", "--seed", 7, "-n", 2,
)  # fmt: skip


def test_what_is_ordered_is_planned_drawn_and_drawn_again(run: Run, pico: Callable[[str], Any], tmp_path: Path) -> None:
    planned = json.loads(run("plan", "pixel art style, a fox", *ORDERS, "--json").stdout)
    drawn = json.loads(run("generate", "pixel art style, a fox", *ORDERS, "--no-compare", "--json").stdout)
    assert (planned["plan_id"], planned["unmet"]) == (drawn["plan_id"], [])
    made = drawn["plan"]
    assert {e["id"].split("/")[1].split("-")[0]: e["weight"] for e in made["experts"]} == {
        "axolotl": 0.7,
        "starry": 0.8,
    }
    assert (made["seeds"], made["negative_prompt"], made["sampler"]["name"]) == ([7, 8], "blurred", "euler_a")
    file, out = tmp_path / "plan.json", tmp_path / "again"
    file.write_text(json.dumps(made | {"prompt": "a red fox"}))
    done = run("render", file, "--out", out, "-n", 1)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["image_7.png", "plan.json"]
    texts = read_texts(out / "image_7.png")
    found = recipe_of(texts["parameters"])
    assert found is not None
    assert (found.prompt, found.sampler, found.width, found.height) == ("a red fox", "Euler a", 64, 96)
    axolotl = found.experts[0]
    assert (axolotl.name, axolotl.weight, axolotl.clip_weight) == ("axolotl", 0.7, 0.5)
    assert {n["class_type"] for n in json.loads(texts["prompt"]).values()} >= {"CheckpointLoaderSimple", "LoraLoader"}
    said = json.loads(run("recipe", out / "image_7.png", "--experts", pico("sdxl").hub, "--json").stdout)
    assert said["plan"] == json.loads((out / "plan.json").read_text())


def test_a_recipe_of_either_text_alone_gives_the_same_plan(
    run: Run, pico: Callable[[str], Any], tmp_path: Path
) -> None:
    drawn = json.loads(run("generate", "a fox", *ORDERS, "--no-compare", "--json").stdout)
    texts = read_texts(Path(drawn["images"][0]))
    for key in ("parameters", "prompt"):
        info = PngInfo()
        info.add_text(key, texts[key])
        Image.new("RGB", (64, 96)).save(tmp_path / f"{key}.png", pnginfo=info)
        said = json.loads(run("recipe", tmp_path / f"{key}.png", "--experts", pico("sdxl").hub, "--json").stdout)
        plan, before = said["plan"], drawn["plan"]
        assert plan["sampler"] == before["sampler"]
        assert (plan["prompt"], plan["negative_prompt"]) == (before["prompt"], before["negative_prompt"])
        weights = {e["sha256"]: (e["weight"], e.get("components")) for e in before["experts"]}
        found = {e["sha256"]: (e["weight"], e.get("components")) for e in plan["experts"]}
        assert found.keys() == weights.keys()
        assert [found[s][0] for s in found] == pytest.approx([weights[s][0] for s in found])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--expert", "axolotl-sdx"], "did you mean"), (["--without", "zzzz"], "diffgraph experts"),
        (["--size", "huge"], "832x1216"), (["--steps", "0"], "1 to 1000"), (["--sampler", "eulr"], "euler"),
        (["--method", "tis"], "ties"), (["--vae", "/nowhere"], "no VAE"), (["--base", "nowhere"], "base add"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line_with_the_next_step(run: Run, words: list[str], sentence: str) -> None:
    done = run("plan", "a fox", *words)
    assert (done.exit_code, sentence in done.stderr) == (2, True)
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["generate", "plan", "chat"])
def test_help_teaches_every_order(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], prog_name="diffgraph", env={"COLUMNS": "120"}).stdout
    flags = (
        "negative",
        "size",
        "steps",
        "guidance",
        "sampler",
        "clip-skip",
        "vae",
        "expert",
        "without",
        "method",
        "base",
    )
    for flag in flags:
        assert f"--{flag}" in text
    assert "Example" in text


def test_a_plan_in_the_terminal_says_what_is_drawn_and_what_is_set_aside(run: Run) -> None:
    said = " ".join(run("plan", "a cat --zork", "--steps", 3, "--seed", 7).stdout.split())
    for part in ("by the base cat", "set aside --zork: there is no such order", "3 steps, guidance", "seeds 7"):
        assert part in said


@pytest.mark.parametrize("name", ["axolotl-sdxl", "axolotl.safetensors"])
def test_an_expert_is_shown_by_the_names_that_it_is_ordered_by(run: Run, name: str) -> None:
    assert json.loads(run("expert", name, "--json").stdout)["expert"]["id"].startswith("folder/axolotl-sdxl")
