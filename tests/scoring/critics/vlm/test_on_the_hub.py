"""A vision model by its id on the Hub: a loopback server that speaks the Hub's API, and the Hub's own client."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from diffgraph_pico import tiny_vlm
from PIL import Image

from diffgraph.errors import UserError
from diffgraph.scoring.critics.vlm.local_model import LocalModel

LOOPBACK = Path(__file__).parents[3] / "graph" / "experts" / "sources" / "loopback_hub.py"
QUESTION = "Does the image show a red fox?"


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("diffgraph_tests_vlm_loopback_hub", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Hub with one model, beside which lies a pickle."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    server = _module(LOOPBACK)
    made = server.Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    folder = tiny_vlm.build(tmp_path / "tiny")
    files = {p.name: p.read_bytes() for p in folder.glob("*")} | {"pytorch_model.bin": b"x"}
    made.repos["ana/tiny-vlm"] = files
    with server.running(made):
        yield made
    close_session()


def test_a_model_is_fetched_asked_and_needs_no_hub_afterwards(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    image = Image.new("RGB", (32, 32), (200, 90, 20))
    there = LocalModel(tmp_path / "tiny").yes_probabilities([image], [QUESTION])
    fetched = LocalModel.of("ana/tiny-vlm")
    assert fetched.yes_probabilities([image], [QUESTION]).tolist() == there.tolist()
    assert fetched.title == "ana/tiny-vlm"
    assert not list((tmp_path / "cache").rglob("*.bin")), "pickles stay there"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert LocalModel.of("ana/tiny-vlm").identity == fetched.identity


def test_a_model_that_the_hub_does_not_have_is_a_sentence(hub: Any) -> None:
    with pytest.raises(UserError, match="ana/none was not found"):
        _ = LocalModel.of("ana/none").identity
