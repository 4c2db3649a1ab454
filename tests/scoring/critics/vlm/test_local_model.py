"""A vision model in process: what it says is what transformers computes, alone or in a batch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffgraph_pico import tiny_vlm
from PIL import Image
from safetensors.torch import load_file, save_file

from diffgraph.errors import ExternalError, UserError
from diffgraph.scoring.critics.vlm.critic import VlmCritic
from diffgraph.scoring.critics.vlm.local_model import LocalModel
from diffgraph.scoring.request import Wanted

QUESTIONS = [
    "Does the image show a red fox?",
    "Is the background blue?",
    "Does the image show this: a cat on a big mat?",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.build(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LocalModel:
    return LocalModel(folder)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for side in (32, 64, 20)]


def plain(folder: Path, images: Sequence[Image.Image], text: str, words: Sequence[str]) -> np.ndarray:
    """Probability of each word's spellings as the first token, by a plain forward pass over one prompt."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    net = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=prompt, images=list(images), return_tensors="pt")
    with torch.inference_mode():
        first = net(**inputs).logits[0, -1].softmax(-1)
    tokens = processor.tokenizer.convert_ids_to_tokens(range(len(first)))
    return np.array([sum(float(first[i]) for i, t in enumerate(tokens) if t.strip("Ġ").lower() == w) for w in words])


def test_p_is_what_transformers_computes(folder: Path, model: LocalModel, images: list[Image.Image]) -> None:
    found = model.yes_probabilities(images, QUESTIONS)
    assert found.shape == (3, 3)
    for i, image in enumerate(images):
        for j, asked in enumerate(QUESTIONS):
            yes, no = plain(folder, [image], f"{asked} Answer yes or no.", ["yes", "no"])
            assert found[i, j] == pytest.approx(yes / (yes + no), abs=1e-6)
    assert np.ptp(found) > 0.05, "images and questions make a difference"


def test_a_batch_says_what_each_alone_says(folder: Path, model: LocalModel, images: list[Image.Image]) -> None:
    alone = LocalModel(folder, batch=1).yes_probabilities(images, QUESTIONS)
    assert np.abs(model.yes_probabilities(images, QUESTIONS) - alone).max() < 1e-6


def test_a_choice_is_between_one_and_two(folder: Path, model: LocalModel, images: list[Image.Image]) -> None:
    one, two = plain(folder, images[:2], "Which image is better? Answer 1 or 2.", ["1", "2"])
    found = model.first_probability(*images[:2], "Which image is better?")
    assert found == pytest.approx(one / (one + two), abs=1e-6)


def test_a_preference_asks_both_orders(model: LocalModel, images: list[Image.Image]) -> None:
    wanted = [Wanted(facet="subject", text="red fox")]
    critic, (a, b) = VlmCritic(model), images[:2]
    assert critic.prefer(a, b, wanted) == pytest.approx(1 - critic.prefer(b, a, wanted), abs=1e-9)
    assert critic.prefer(a, a, wanted) == pytest.approx(0.5, abs=1e-9)


def test_a_model_of_single_images_prefers_by_odds(folder: Path, images: list[Image.Image]) -> None:
    wanted = [Wanted(facet="subject", text="red fox"), Wanted(facet="background", text="blue")]
    critic = VlmCritic(LocalModel(folder, pairs=False))
    p = critic.raw(images[:2], wanted)
    odds = np.log(p / (1 - p)).mean(1)
    assert critic.prefer(*images[:2], wanted) == pytest.approx(1 / (1 + np.exp(odds[1] - odds[0])), abs=1e-9)


def test_it_says_what_it_sees(model: LocalModel, images: list[Image.Image]) -> None:
    said = model.describe(images[0], ["What does the image show?", "What is the background?"])
    assert len(said) == 2
    verdict = VlmCritic(model).score(images[:1], [Wanted(facet="subject", text="red fox")])[0]
    assert verdict.by == "tiny"
    assert all(len(text) <= 80 and text.isprintable() for text in verdict.seen.values())


def test_identity_follows_the_weights(folder: Path, tmp_path: Path, model: LocalModel) -> None:
    assert LocalModel(folder).identity == model.identity
    assert LocalModel(tiny_vlm.build(tmp_path / "other", seed=1)).identity != model.identity


@pytest.mark.parametrize("content", ["nothing", "no_model", "no_words"])
def test_a_folder_of_something_else_is_a_sentence(folder: Path, tmp_path: Path, content: str) -> None:
    if content != "nothing":
        for path in folder.glob("*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if content == "no_model":
        (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    if content == "no_words":
        (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"vision model in .* cannot be read"):
        LocalModel(tmp_path).yes_probabilities([Image.new("RGB", (8, 8))], QUESTIONS[:1])


def test_half_a_model_judges_nothing(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "half")
    weights = tmp_path / "half" / "model.safetensors"
    whole = load_file(weights)
    save_file(dict(list(whole.items())[: len(whole) // 2]), weights, {"format": "pt"})
    with pytest.raises(UserError, match="of the model's weights"):
        LocalModel(tmp_path / "half").yes_probabilities([Image.new("RGB", (8, 8))], QUESTIONS[:1])


def test_one_that_it_cannot_take_never_ends_a_batch(
    model: LocalModel, images: list[Image.Image], caplog: pytest.LogCaptureFixture
) -> None:
    bad = "Is there another <image>?"  # which its processor has no image for
    found = model.yes_probabilities(images[:1], [QUESTIONS[0], bad, QUESTIONS[1]])[0]
    assert np.isnan(found).tolist() == [False, True, False]
    assert found[[0, 2]] == pytest.approx(model.yes_probabilities(images[:1], QUESTIONS[:2])[0], abs=1e-6)
    assert "cannot take an image" in caplog.text
    with pytest.raises(ExternalError, match="cannot take any of 2 questions"):
        model.yes_probabilities(images[:2], [bad])


def test_an_image_that_cannot_be_read_is_unsure_and_the_others_are_judged(
    model: LocalModel, images: list[Image.Image], tmp_path: Path
) -> None:
    images[1].save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    wanted, critic = [Wanted(facet="subject", text="red fox")], VlmCritic(model)
    with Image.open(tmp_path / "cut.png") as cut:
        good, bad = critic.score([images[0], cut], wanted)
        assert critic.prefer(images[0], cut, wanted) == 1
        assert critic.prefer(cut, images[0], wanted) == 0
    assert good.facets["red fox"] == pytest.approx(critic.raw(images[:1], wanted)[0, 0], abs=1e-6)
    assert bad.facets == {"red fox": 0.5}


def test_a_model_that_takes_too_long_is_given_up(folder: Path, images: list[Image.Image]) -> None:
    with pytest.raises(ExternalError, match=r"DIFFGRAPH_CRITIC_TIMEOUT"):
        LocalModel(folder, seconds=1e-6).yes_probabilities(images, QUESTIONS)
