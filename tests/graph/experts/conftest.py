"""Hubs on loopback, and a home to scout into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .sources.loopback_civitai import Civitai, Storage
from .sources.loopback_hub import CARD, Hub, lora, running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    server = Hub()
    server.repos["ana/ink"] = {"README.md": CARD, "ink.safetensors": lora(), "extra.bin": b"x"}
    with running(server):
        yield server
        close_session()


@pytest.fixture
def civitai() -> Iterator[Civitai]:
    storage = Storage()
    server = Civitai(storage)
    for number in (1, 2, 3):
        server.add(number, lora(number))
    with running(storage), running(server):
        yield server
