"""A real vLLM server with a real vision model behind it; ``make test-vllm`` runs what lies here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from diffgraph.world import world_dir


def _find_helpers() -> None:
    """Makes what lies here importable as ``diffgraph_vllm``: tests lie in no package."""
    module = ModuleType("diffgraph_vllm")
    module.__path__ = [str(Path(__file__).parent)]
    sys.modules["diffgraph_vllm"] = module


_find_helpers()


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only ``-m vllm`` imports what lies here: it loads torch and transformers, which other runs need not wait for."""
    return None if "vllm" in config.getoption("markexpr") else True


@pytest.fixture(scope="session", params=["tiny", "world"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a vision model: a tiny one with random weights, and the embedded world's own."""
    from diffgraph_vllm import served

    if why := served.missing():
        pytest.skip(why)
    if request.param == "tiny":
        from diffgraph_vllm import tiny_vlm

        return tiny_vlm.build(tmp_path_factory.mktemp("tiny_vlm"))
    folder = world_dir() / "scorers" / "vlm"
    if not (folder / "config.json").is_file():
        pytest.skip("The embedded world holds no vision model.")
    return folder


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of that model; one at a time."""
    from diffgraph_vllm import served

    with served.serving(model, tmp_path_factory.mktemp("served") / "vllm.log") as running:
        yield running


@pytest.fixture
def client(server: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's own client for it."""
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=300) as made:
        yield made
