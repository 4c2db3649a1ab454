"""Metrics by models of transformers: the numbers of a plain computation with the real classes, and plain refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoProcessor, CLIPModel, Dinov2Model

from diffgraph.errors import UserError
from diffgraph.scoring import metrics
from diffgraph.scoring.metrics.pick_score import picked
from diffgraph.tests.pico import tiny_clip

PROMPTS = ["a red fox in snow", "an owl, pixel art style, before a wall that is much longer than the limit", "cat"]


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def dino_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.dino(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(3)
    sizes = [(16, 16), (40, 24), (24, 40)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for w, h in sizes]


@pytest.fixture(scope="module")
def logits(clip_dir: Path, images: list[Image.Image]) -> torch.Tensor:
    """The real classes' own logits: image i with text j."""
    return _plain(clip_dir, images, PROMPTS).logits_per_image


def _plain(folder: Path, images: list[Image.Image], texts: list[str]):  # type: ignore[no-untyped-def]
    model = CLIPModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(
        text=texts, images=images, return_tensors="pt", padding=True, truncation=True, max_length=tiny_clip.LIMIT
    )
    with torch.inference_mode():
        return model(**inputs)


def _scale(folder: Path) -> float:
    return float(CLIPModel.from_pretrained(folder).logit_scale.detach().exp())


def test_clip_score_is_a_hundred_cosines_and_never_negative(
    clip_dir: Path, images: list[Image.Image], logits: torch.Tensor
) -> None:
    cosines = 100 * logits / _scale(clip_dir)
    some = [(i, j) for i in range(3) for j in range(3)]
    assert min(float(cosines[i, j]) for i, j in some) < 0 < max(float(cosines[i, j]) for i, j in some)
    found = metrics.make(f"clip_score:{clip_dir}").measure([images[i] for i, _ in some], [PROMPTS[j] for _, j in some])
    assert found == pytest.approx([max(0.0, float(cosines[i, j])) for i, j in some], abs=1e-4)


def test_pick_score_is_the_models_logit_and_candidates_share_a_softmax(
    clip_dir: Path, images: list[Image.Image], logits: torch.Tensor
) -> None:
    found = metrics.make(f"pick_score:{clip_dir}").measure(images, [PROMPTS[1]] * 3)
    assert found == pytest.approx(logits[:, 1].tolist(), abs=1e-4)
    assert picked(found) == pytest.approx(torch.softmax(logits[:, 1], 0).tolist(), abs=1e-4)
    assert picked([1000.0, 1000.0]) == [0.5, 0.5]
    assert picked([]) == []


def _version_2(folder: Path) -> tuple[Path, Callable[[torch.Tensor], torch.Tensor]]:
    torch.manual_seed(2)
    head = torch.nn.Sequential(
        *(layer for a, b in ((8, 6), (6, 4), (4, 1)) for layer in (torch.nn.Linear(a, b), torch.nn.Dropout()))
    )
    path = folder / "head.safetensors"
    save_file({f"layers.{name}": tensor for name, tensor in head.state_dict().items()}, path)
    return path, head.eval()


def _version_1(folder: Path) -> tuple[Path, Callable[[torch.Tensor], torch.Tensor]]:
    torch.manual_seed(2)
    head = torch.nn.Linear(8, 1)
    path = folder / "head.safetensors"
    save_file(head.state_dict(), path)
    return path, head.eval()


@pytest.mark.parametrize("made", [_version_1, _version_2])
def test_both_aesthetic_heads_are_what_their_layers_say(
    made: Callable[[Path], tuple[Path, Callable[[torch.Tensor], torch.Tensor]]],
    clip_dir: Path, images: list[Image.Image], tmp_path: Path,
) -> None:  # fmt: skip
    path, head = made(tmp_path)
    with torch.inference_mode():
        wanted = head(_plain(clip_dir, images, PROMPTS).image_embeds)[:, 0].tolist()
    found = metrics.make(f"aesthetic:{path}@{clip_dir}").measure(images, PROMPTS)
    assert found == pytest.approx(wanted, abs=1e-4)
    assert len(set(found)) == 3


def test_similarity_is_the_mean_cosine_with_the_references(
    clip_dir: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    for number, image in enumerate(images[:2]):
        image.save(tmp_path / f"{number}.png")
    vectors = _plain(clip_dir, images, PROMPTS).image_embeds
    one = metrics.make(f"clip_similarity:{clip_dir}@{tmp_path / '0.png'}").measure(images, PROMPTS)
    assert one == pytest.approx((vectors @ vectors[0]).tolist(), abs=1e-4)
    assert one[0] == pytest.approx(1.0, abs=1e-4)
    both = metrics.make(f"clip_similarity:{clip_dir}@{tmp_path}").measure(images, PROMPTS)
    assert both == pytest.approx((vectors @ vectors[:2].T).mean(1).tolist(), abs=1e-4)


def test_dino_similarity_is_the_cosine_of_class_tokens(
    dino_dir: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    images[0].save(tmp_path / "a.png")
    processor = AutoImageProcessor.from_pretrained(dino_dir, backend="pil")
    with torch.inference_mode():
        tokens = Dinov2Model.from_pretrained(dino_dir).eval()(**processor(images, return_tensors="pt")).pooler_output
    unit = torch.nn.functional.normalize(tokens, dim=-1)
    found = metrics.make(f"dino_similarity:{dino_dir}@{tmp_path / 'a.png'}").measure(images, PROMPTS)
    assert found == pytest.approx((unit @ unit[0]).tolist(), abs=1e-4)
    assert found[1] < 0.999


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("clip_score", "clip_score:openai/clip-vit-large-patch14"),
        ("clip_score:./nowhere", "no folder with a model"),
        ("pick_score", "pick_score:yuvalkirstain/PickScore_v1"),
        ("aesthetic", "aesthetic:HEAD.safetensors"),
        ("aesthetic:nowhere.safetensors", "convert one to .safetensors"),
        ("aesthetic:head.pth", "save_file"),
        ("clip_similarity:openai/clip-vit-large-patch14", "@REFERENCE"),
        ("dino_similarity:facebook/dinov2-base@nowhere.png", "nowhere.png"),
        ("image_reward", "pick_score:"),
        ("hps", "pick_score:"),
    ],
)
def test_what_cannot_be_made_is_said_with_the_next_step(named: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        metrics.make(named)
    assert told in str(caught.value)


def test_folders_of_something_else_are_refused(
    dino_dir: Path, clip_dir: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="dinov2"):
        metrics.make(f"clip_score:{dino_dir}").measure(images, PROMPTS)
    with pytest.raises(UserError, match="cannot be read as a CLIP model"):
        metrics.make(f"clip_score:{tmp_path}").measure(images, PROMPTS)
    head = tmp_path / "head.safetensors"
    save_file({"weight": torch.zeros(1, 5), "bias": torch.zeros(1)}, head)
    with pytest.raises(UserError, match="not 8"):
        metrics.make(f"aesthetic:{head}@{clip_dir}").measure(images, PROMPTS)
    save_file({"layers.0.weight": torch.zeros(2, 8), "layers.0.bias": torch.zeros(2)}, head)
    with pytest.raises(UserError, match="one number"):
        metrics.make(f"aesthetic:{head}@{clip_dir}").measure(images, PROMPTS)


def test_half_a_model_measures_nothing(
    clip_dir: Path, dino_dir: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    """Transformers would fill the rest with numbers drawn by lot, or raise what is none of ours."""
    shutil.copytree(clip_dir, tmp_path / "half")
    weights = tmp_path / "half" / "model.safetensors"
    whole = load_file(weights)
    save_file({k: v for k, v in whole.items() if "vision_model.encoder" not in k}, weights, {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 32 of the model's weights \(vision_model.encoder"):
        metrics.make(f"clip_score:{tmp_path / 'half'}").measure(images, PROMPTS)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read as a CLIP model"):
        metrics.make(f"clip_score:{tmp_path / 'half'}").measure(images, PROMPTS)
    images[0].save(tmp_path / "a.png")
    with pytest.raises(UserError, match="takes more than images"):
        metrics.make(f"dino_similarity:{clip_dir}@{tmp_path / 'a.png'}").measure(images, PROMPTS)


def test_a_model_that_the_hub_cannot_give_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        metrics.make("clip_score:nobody/nothing")
