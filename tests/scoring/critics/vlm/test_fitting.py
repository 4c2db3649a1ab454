"""A vision model fitted to labelled images, through the product's own setting and server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diffgraph_pico.vision_server import Ways, serving
from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import NoCritic, UserError
from diffgraph.scoring import protocol
from diffgraph.scoring.critics.vlm import VlmCritic, calibration_path
from diffgraph.scoring.critics.vlm.calibration import Calibration, Curve
from diffgraph.scoring.critics.vlm.fitting import Fitted, fit_folder
from diffgraph.scoring.critics.vlm.labels import Label, images, read
from diffgraph.scoring.protocol import CriticSetup
from diffgraph.scoring.request import Wanted


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ways]:
    with serving(Ways()) as ways:
        monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", ways.url)
        yield ways


@pytest.fixture
def setup(tmp_path: Path, home: Path) -> CriticSetup:
    return CriticSetup(BaseProfile(name="mine", ref="folder:mine", where=str(tmp_path)), home=home)


def labelled(folder: Path, count: int = 120) -> Path:
    """Grey images; a subject is shown where the image is brighter than most, a style wherever chance says."""
    folder.mkdir()
    rng, lines = np.random.default_rng(5), []
    for number in range(count):
        level = int(rng.integers(0, 256))
        Image.new("RGB", (8, 8), (level,) * 3).save(folder / f"{number}.png")
        shown = bool(rng.random() < 1 / (1 + np.exp(-(level - 180) / 20)))
        lines.append({"image": f"{number}.png", "facet": "subject", "text": "red fox", "shown": shown})
        lines.append({"image": f"{number}.png", "facet": "style", "text": "neon", "shown": level < 128})
    lines.append({"image": "0.png", "facet": "count", "text": "two foxes", "shown": True})
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def fitted(critic: VlmCritic, folder: Path, told: list[str]) -> Fitted:
    return fit_folder(critic, folder, tell=told.append, count=lambda done, total, text: None)


def made(setup: CriticSetup) -> VlmCritic:
    found = protocol.fitting("vlm:openai:bright", setup)
    assert isinstance(found, VlmCritic)
    return found


def test_curves_are_fitted_facet_by_facet_and_told_apart(ways: Ways, setup: CriticSetup, tmp_path: Path) -> None:
    told: list[str] = []
    found = fitted(made(setup), labelled(tmp_path / "labels"), told)
    by = {one.facet: one for one in found.facets}
    assert (by["subject"].n, by["count"].n) == (120, 1)
    assert by["subject"].auroc is not None
    assert by["subject"].auroc > 0.9
    assert by["subject"].ece_after is not None
    assert by["subject"].ece_after < by["subject"].ece / 2
    assert by["style"].curve is None
    assert by["style"].why == "the model is no better than chance on it"
    assert by["count"].why == "fewer than 20 labels"
    assert set(found.calibration.facets) == {"subject"}
    assert told == []


def test_the_critic_goes_by_what_was_fitted(ways: Ways, setup: CriticSetup, home: Path) -> None:
    before = made(setup)
    path = calibration_path("openai:bright", home)
    path.parent.mkdir(parents=True)
    Calibration(model="openai:bright", facets={"subject": Curve(slope=2.0, shift=-1.0)}).write(path)
    after = made(setup)
    image, wanted = Image.new("RGB", (8, 8), (204,) * 3), [Wanted(facet="subject", text="red fox")]
    assert before.score([image], wanted)[0].score == pytest.approx(0.8, abs=0.001)
    assert after.score([image], wanted)[0].score == pytest.approx(16 / (16 + np.e), abs=0.001)
    assert before.identity != after.identity


def test_curves_of_another_model_are_refused(
    ways: Ways, setup: CriticSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Calibration(model="openai:another").write(tmp_path / "c.json")
    monkeypatch.setenv("DIFFGRAPH_CRITIC_CALIBRATION", str(tmp_path / "c.json"))
    with pytest.raises(UserError, match=r"another model than bright at .*diffgraph critic fit"):
        made(setup).score([Image.new("RGB", (8, 8))], [Wanted(facet="subject", text="red fox")])
    monkeypatch.setenv("DIFFGRAPH_CRITIC_CALIBRATION", str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="cannot be read"):
        made(setup)


def test_bad_lines_and_images_are_told_and_passed_over(ways: Ways, setup: CriticSetup, tmp_path: Path) -> None:
    folder = labelled(tmp_path / "labels", 30)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "outside.png").write_bytes((folder / "0.png").read_bytes())
    more = ['{"image": "0.png"}', "no json \x1b[31m", "", "[" * 20_000]
    for image in ("broken.png", "none.png", "../outside.png", "/etc/passwd"):
        more.append(json.dumps({"image": image, "facet": "subject", "text": "x", "shown": True}))
    with (folder / "labels.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(more))
    told: list[str] = []
    assert {one.facet: one.n for one in fitted(made(setup), folder, told).facets} == {
        "subject": 30,
        "style": 30,
        "count": 1,
    }
    assert len(told) == 7
    assert all(text.isprintable() for text in told)
    assert sum("outside the folder" in text for text in told) == 2


@pytest.mark.parametrize(
    ("text", "said"), [(None, "labels.jsonl cannot be read"), ("\n", "No line"), ("{}", "No line")]
)
def test_a_folder_without_labels_is_a_sentence(
    ways: Ways, setup: CriticSetup, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "labels.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        fitted(made(setup), tmp_path, [])


@pytest.mark.parametrize("before", ["\ufeff", "\n\r\n", ""])
def test_labels_as_editors_write_them(tmp_path: Path, before: str) -> None:
    line = '{"image": "a.png", "facet": " Subject", "text": " fox\u2028den ", "shown": "yes"}'
    (tmp_path / "labels.jsonl").write_text(before + line + "\r\n" + line + "\r\n", encoding="utf-8")
    told: list[str] = []
    label, again = read(tmp_path, told.append)
    assert (label.facet, label.text, label.shown, told) == ("subject", "fox\u2028den", True, [])
    assert again == label


def test_an_image_that_breaks_behind_its_head_is_passed_over(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    (tmp_path / "a.png").write_bytes(data[:second] + b"\0\1\2\3" + data[second + 4 :])
    told: list[str] = []
    assert list(images(tmp_path, [Label(image="a.png", facet="subject", text="x", shown=True)], told.append)) == []
    assert "passed over" in told[0]


def test_it_judges_any_base_but_not_unasked(setup: CriticSetup) -> None:
    assert made(setup).fits(setup.base)
    with pytest.raises(NoCritic, match=r"vlm:openai:MODEL"):
        protocol.fitting("auto", setup)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("vlm", "Say which vision model"),
        ("vlm:", "Say which vision model"),
        ("vlm:openai", "Say which vision model"),
        ("vlm:openai:", "Say which vision model"),
        ("vlm:gguf:x", "Say which vision model"),
        ("vlm:local:nowhere", "no folder"),
        ("vlm:local:.", "holds no model"),
    ],
)
def test_a_model_that_is_not_meant_or_not_there_is_a_sentence(
    setup: CriticSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        protocol.fitting(named, setup)


def test_a_server_that_is_named_for_the_critic_judges_unasked(ways: Ways, setup: CriticSetup) -> None:
    found = protocol.fitting("auto", setup)
    assert isinstance(found, VlmCritic)
    assert found.backend.identity == "openai:bright"
    assert protocol.chosen("auto", setup) == "vlm"
    ways.models = []
    with pytest.raises(NoCritic):
        protocol.fitting("auto", setup)


def test_why_the_critic_that_is_meant_cannot_judge_is_told(
    ways: Ways, setup: CriticSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRAPH_CRITIC_CALIBRATION", f"{setup.home}/none.json")
    with pytest.raises(NoCritic, match=r"vlm cannot judge: The calibration .*none.json cannot be read"):
        protocol.fitting("auto", setup)
    ways.models = []
    with pytest.raises(NoCritic, match=r"vlm cannot judge: No server at 127.0.0.1:\d+ says which models"):
        protocol.fitting("auto", setup)
    monkeypatch.setenv("DIFFGRAPH_CRITIC_TIMEOUT", "soon")
    with pytest.raises(NoCritic, match=r"vlm cannot judge: DIFFGRAPH_CRITIC_TIMEOUT='soon'"):
        protocol.fitting("auto", setup)


def test_curves_of_a_server_hold_whether_its_model_was_named_or_not(ways: Ways, setup: CriticSetup, home: Path) -> None:
    path = calibration_path("openai:bright", home)
    path.parent.mkdir(parents=True)
    Calibration(model="openai:bright", facets={"subject": Curve(slope=2.0)}).write(path)
    for said in ("auto", "vlm", "vlm:openai: bright"):
        found = protocol.fitting(said, setup)
        assert isinstance(found, VlmCritic)
        assert found.calibration.facets


def test_a_model_on_the_hub_is_fetched_when_it_is_needed(setup: CriticSetup) -> None:
    critic = protocol.fitting("vlm:local:somebody/model@main", setup)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        critic.score([Image.new("RGB", (8, 8))], [Wanted(facet="subject", text="red fox")])
