"""``diffgraph critic``: who can judge a base, and a vision model fitted to labelled images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diffgraph_pico.vision_server import Ways, serving
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from diffgraph.cli.main import app
from diffgraph.scoring.critics.vlm import calibration_path
from diffgraph.scoring.critics.vlm.calibration import Calibration

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ways]:
    unet = tmp_path / "mine" / "unet"
    unet.mkdir(parents=True)
    listing = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (tmp_path / "mine" / "model_index.json").write_text(json.dumps(listing))
    save_file({CROSS: np.zeros((4, 768), np.float16)}, unet / "diffusion_pytorch_model.safetensors")
    with serving(Ways()) as ways:
        monkeypatch.setenv("OPENAI_BASE_URL", ways.url)
        monkeypatch.chdir(tmp_path)
        yield ways


def diffgraph(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def listed(*words: str) -> dict[str, dict[str, object]]:
    done = diffgraph("critic", "list", "--json", *words)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    return {"": found} | {one["name"]: one for one in found["critics"]}


def test_critics_are_listed_with_why_they_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ("--base", str(tmp_path / "mine"))
    found = listed(*base)
    assert {"dual_encoder", "vlm", "world"} <= set(found)
    assert not any(found[name]["fits"] for name in ("dual_encoder", "vlm", "world"))
    assert "Say which vision model" in str(found["vlm"]["why"])
    assert "not for what" in str(found["world"]["why"])
    assert found[""]["in_force"] == ""
    monkeypatch.setenv("DIFFGRAPH_CRITIC", "vlm:openai:bright")
    found = listed(*base)
    assert (found["vlm"]["fits"], found["vlm"]["why"], found[""]["in_force"]) == (True, "", "vlm:openai:bright")
    table = diffgraph("critic", "list", *base).stdout
    assert "*  vlm" in table
    assert "A vision model, for any base" in table


def test_a_fit_is_written_shown_and_used(server: Ways, tmp_path: Path, home: Path) -> None:
    lines = []
    for level in range(4, 252, 6):
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / f"{level}.png")
        for text, above in (("fox", 150), ("owl", 200)):
            lines.append({"image": f"{level}.png", "facet": "subject", "text": text, "shown": level > above})
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    base = str(tmp_path / "mine")
    said = ("critic", "fit", "--labels", str(tmp_path), "--base", base, "--critic", "vlm:openai:bright")
    done = diffgraph(*said)
    assert done.exit_code == 0, done.stderr
    assert "AUROC" in done.stdout
    assert "vlm:openai:bright goes by it from here on" in done.stderr
    (written,) = (home / "critics").glob("vlm-openai-bright-*.json")
    found = json.loads(diffgraph(*said, "--out", "mine.json", "--json").stdout)
    assert found["file"] == str(tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_bytes() == written.read_bytes()
    (facet,) = found["facets"]
    assert (facet["n"], facet["auroc"] > 0.9, facet["ece_after"] < facet["ece"]) == (84, True, True)


def test_a_fit_mends_a_damaged_one_and_an_empty_one_harms_none(
    server: Ways, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", server.url)
    lines = [{"image": "a.png", "facet": "subject", "text": f"{n}", "shown": True} for n in range(30)]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = ("critic", "fit", "--labels", str(tmp_path), "--base", str(tmp_path / "mine"), "--critic")
    written = calibration_path("openai:bright", home)
    written.parent.mkdir(parents=True)
    written.write_text("{damaged")
    done = diffgraph(*said, "vlm:openai:bright")
    assert (done.exit_code, written.read_text()) == (0, "{damaged"), done.stderr
    assert "nothing is written" in done.stderr
    for n, line in enumerate(lines):
        Image.new("RGB", (8, 8), (8 * n,) * 3).save(tmp_path / f"{n}.png")
        line |= {"image": f"{n}.png", "shown": n > 10}
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = diffgraph(*said, "vlm")
    assert done.exit_code == 0, done.stderr
    assert Calibration.read(written).facets.keys() == {"subject"}
    done = diffgraph(*said, "vlm", "--out", str(tmp_path))
    assert (done.exit_code, "is a folder" in done.stderr) == (2, True)
    done = diffgraph(*said, "vlm", "--out", str(tmp_path / "a.png" / "b" / "c.json"))
    assert (done.exit_code, "cannot be made" in done.stderr) == (2, True)


@pytest.mark.parametrize("critic", ["auto", "world", "none", "dual_encoder:x"])
def test_only_vision_models_are_fitted(tmp_path: Path, critic: str) -> None:
    (tmp_path / "labels.jsonl").write_text("{}")
    done = diffgraph("critic", "fit", "--labels", str(tmp_path), "--base", str(tmp_path / "mine"), "--critic", critic)
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr


def test_help_teaches() -> None:
    said = diffgraph("critic", "fit", "--help").stdout
    for word in ("labels.jsonl", "shown", "AUROC", "ECE", "20"):
        assert word in said
