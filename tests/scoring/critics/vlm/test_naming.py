"""A model that is also asked for names: how likely a name is, token by token, and what that adds to a yes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffgraph_pico import tiny_vlm
from PIL import Image

from diffgraph.scoring.critics.vlm.calibration import Calibration, Curve, expit, logit
from diffgraph.scoring.critics.vlm.critic import VlmCritic
from diffgraph.scoring.critics.vlm.local_model import LocalModel
from diffgraph.scoring.critics.vlm.naming import NamingCritic
from diffgraph.scoring.critics.vlm.questions import SHORTLY, open_question
from diffgraph.scoring.request import Wanted

WANTED = [Wanted(facet="subject", text="red fox"), Wanted(facet="background", text="a cat on a big mat")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.build(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for side in (32, 64)]


def step_by_step(folder: Path, image: Image.Image, text: str, name: str) -> float:
    """Log-probability of a name and the end behind it, one plain forward pass a token."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    net = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    content = [{"type": "image"}, {"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = dict(processor(text=prompt, images=[image], return_tensors="pt"))
    total = 0.0
    for token in [*processor.tokenizer.encode(name, add_special_tokens=False), processor.tokenizer.eos_token_id]:
        with torch.inference_mode():
            total += float(net(**inputs).logits[0, -1].double().log_softmax(-1)[token])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return total


def test_a_name_is_as_likely_as_its_tokens(folder: Path, images: list[Image.Image]) -> None:
    """Names of several lengths in one batch: padding changes nothing."""
    asked = [(image, open_question(want), want.text) for image in images for want in WANTED]
    found = LocalModel(folder).name_likelihoods(asked)
    for said, (image, question, name) in zip(found, asked, strict=True):
        assert said == pytest.approx(step_by_step(folder, image, question + SHORTLY, name), abs=1e-4)
    assert np.abs(found - LocalModel(folder, batch=1).name_likelihoods(asked)).max() < 1e-4


def test_names_are_added_to_the_answer(folder: Path, images: list[Image.Image]) -> None:
    model, curves = LocalModel(folder), Calibration(facets={"subject": Curve(slope=0.5, shift=2.0)})
    critic = NamingCritic(model, lambda want: want.text.upper(), calibration=curves)
    plain = VlmCritic(model, describes=False)
    names = [(image, open_question(want), want.text.upper()) for image in images for want in WANTED]
    both = logit(plain.raw(images, WANTED)) + model.name_likelihoods(names).reshape(2, 2)
    assert critic.raw(images, WANTED) == pytest.approx(expit(both), abs=1e-9)
    assert critic.probabilities(images, WANTED)[:, 0] == pytest.approx(expit(0.5 * logit(expit(both[:, 0])) + 2.0))
    assert critic.raw(images, []).shape == (2, 0)
    assert critic.identity != plain.identity
    a_first = critic.prefer(*images, WANTED)
    assert a_first == pytest.approx(1 - critic.prefer(*reversed(images), WANTED), abs=1e-9)
