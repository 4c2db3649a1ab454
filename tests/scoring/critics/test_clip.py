"""The CLIP critic: its probabilities are a plain softmax of the real classes' cosines; it chooses and embeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPModel

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import UserError
from diffgraph.scoring import protocol
from diffgraph.scoring.critics.clip import MEDIA, ClipCritic, captions
from diffgraph.scoring.protocol import CriticSetup, Embeds, Prefers
from diffgraph.scoring.request import WHOLE, Wanted
from diffgraph.tests.pico import tiny_clip

OPEN = BaseProfile(name="mine", where="/nowhere", ref="file:mine", architecture="sdxl")
CLOSED = OPEN.model_copy(update={"vocabulary": "closed"})
WANTED = (Wanted(facet="subject", text="owl"), Wanted(facet="style", text="neon style"))


@pytest.fixture(scope="module")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def critic(clip_dir: Path) -> ClipCritic:
    made = protocol.fitting(f"clip:{clip_dir}", CriticSetup(OPEN))
    assert isinstance(made, ClipCritic)
    return made


def _cosines(folder: Path, images: list[Image.Image], texts: list[str]) -> tuple[np.ndarray, np.ndarray, float]:
    """By the real classes: unit vectors of images and of texts, and the scale."""
    model = CLIPModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(
        text=texts, images=images, return_tensors="pt", padding=True, truncation=True, max_length=tiny_clip.LIMIT
    )
    with torch.inference_mode():
        out = model(**inputs)
    return out.image_embeds.numpy(), out.text_embeds.numpy(), float(model.logit_scale.detach().exp())


def test_p_is_the_captions_share_against_captions_that_leave_it_out(
    critic: ClipCritic, clip_dir: Path, images: list[Image.Image]
) -> None:
    said = [[f"{m} of an owl" for m in MEDIA], [f"{m} in neon style" for m in MEDIA]]
    against = [list(MEDIA), [f"{m} of something else" for m in MEDIA]]
    groups = [*said, *against]
    seen, texts, scale = _cosines(clip_dir, images, [t for g in groups for t in g])
    means = texts.reshape(4, 3, -1).mean(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    logits = scale * seen @ means.T
    for image, verdict in enumerate(critic.score(images, WANTED)):
        for column, want in enumerate(WANTED):
            three = logits[image, [column, 2, 3]]
            share = np.exp(three - three.max()) / np.exp(three - three.max()).sum()
            assert verdict.facets[want.text] == pytest.approx(share[0], abs=1e-4)
        p = list(verdict.facets.values())
        assert verdict.score == pytest.approx((p[0] * p[1]) ** 0.5)
        assert len(verdict.findings) == sum(x < 0.5 for x in p)
        assert verdict.by.startswith("clip ")


def test_it_chooses_by_a_softmax_over_the_two_images(
    critic: ClipCritic, clip_dir: Path, images: list[Image.Image]
) -> None:
    assert isinstance(critic, Prefers)
    whole = Wanted(facet=WHOLE, text="an owl")
    seen, texts, scale = _cosines(clip_dir, images[:2], ["an owl"])
    both = np.exp(scale * (seen @ texts[0]))
    assert critic.prefer(images[0], images[1], [whole]) == pytest.approx(both[0] / both.sum(), abs=1e-4)
    assert critic.prefer(images[1], images[0], [whole]) == pytest.approx(both[1] / both.sum(), abs=1e-4)
    assert critic.prefer(images[0], images[0], WANTED) == 0.5
    assert critic.prefer(images[0], images[1], []) == 0.5


def test_one_text_under_two_facets_counts_as_the_worse_of_the_two(
    critic: ClipCritic, images: list[Image.Image]
) -> None:
    twice = [Wanted(facet="subject", text="neon"), Wanted(facet="style", text="neon")]
    for pair in (twice, twice[::-1]):
        for image in images[:3]:
            single = [critic.score([image], [want])[0].score for want in pair]
            assert critic.score([image], pair)[0].facets == pytest.approx({"neon": min(single)})


def test_it_says_where_images_lie(critic: ClipCritic, clip_dir: Path, images: list[Image.Image]) -> None:
    assert isinstance(critic, Embeds)
    seen, _, _ = _cosines(clip_dir, images, ["a"])
    assert np.abs(critic.embed(images) - seen).max() < 1e-5
    assert critic.embed([]).shape == (0, 8)
    assert critic.score([], WANTED) == []


def test_it_fits_open_bases_only(critic: ClipCritic, clip_dir: Path) -> None:
    assert critic.fits(OPEN)
    with pytest.raises(UserError, match="is not for what"):
        protocol.fitting(f"clip:{clip_dir}", CriticSetup(CLOSED))


def test_its_identity_is_its_files(critic: ClipCritic, tmp_path: Path) -> None:
    same = ClipCritic(CriticSetup(OPEN, str(tiny_clip.clip(tmp_path / "same"))))
    other = ClipCritic(CriticSetup(OPEN, str(tiny_clip.clip(tmp_path / "other", seed=1))))
    assert critic.identity == same.identity != other.identity


@pytest.mark.parametrize(
    ("facet", "text", "said"),
    [
        ("subject", "owl", "a photo of an owl"),
        ("background", "brick wall background", "a photo with a brick wall background"),
        ("count", "three cats", "a photo of three cats"),
        ("text", "OPEN", 'a photo with the text "OPEN"'),
        (WHOLE, "an owl before a wall", "an owl before a wall"),
    ],
)
def test_captions(facet: str, text: str, said: str) -> None:
    assert captions(Wanted(facet=facet, text=text))[0] == said


def test_without_a_model_the_next_step_is_said() -> None:
    with pytest.raises(UserError, match="clip:openai/clip-vit-large-patch14"):
        protocol.make("clip", CriticSetup(OPEN))
