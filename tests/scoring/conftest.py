"""A critic of the real classes with few channels and random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffgraph.scoring.critics.dual_encoder import write_critic
from diffgraph.scoring.critics.dual_encoder_net import CriticConfig, DualEncoder

FACETS = ("subject", "style", "background")
TEXTS = {
    "subject": ["cat", "kitten", "octopus"],
    "style": ["blueprint", "house"],
    "background": ["plain red", "starry night"],
}
NAMES = {**TEXTS, "subject": ["cat", "cat", "octopus"]}


def features(texts: list[str], dim: int = 8) -> np.ndarray:
    """A vector a text, the same every time."""
    rows = [np.random.default_rng(sum(map(ord, t))).standard_normal(dim) for t in texts]
    return np.asarray(rows, np.float32)


def tiny_net() -> DualEncoder:
    torch.manual_seed(0)
    sizes = {"widths": (4, 4, 8, 8), "embed": 6, "text_dim": 8, "text_hidden": 8}
    return DualEncoder(CriticConfig(facets=FACETS, placed=("subject",), size=64, **sizes)).eval()


def tiny_critic(folder: Path) -> Path:
    bank = {f: (TEXTS[f], NAMES[f], torch.from_numpy(features(TEXTS[f]))) for f in FACETS}
    write_critic(folder, tiny_net(), bank, dict.fromkeys(FACETS, (1.0, 5.0)))
    return folder


@pytest.fixture(scope="session")
def critic_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_critic(tmp_path_factory.mktemp("critic"))


@pytest.fixture
def net() -> DualEncoder:
    """The network that ``critic_dir`` holds."""
    return tiny_net()


@pytest.fixture
def embed_text() -> Callable[[list[str]], np.ndarray]:
    return features


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(3)]
