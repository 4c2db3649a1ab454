"""The brain talks to the server that OLLAMA_HOST names, with the model behind the colon."""

from __future__ import annotations

import pytest
from langchain_openai import ChatOpenAI

from diffgraph import Settings
from diffgraph.agents.brains.brain import make


def test_the_setting_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:5")
    model = make(Settings(brain="ollama:some-model"))
    assert isinstance(model, ChatOpenAI)
    assert model.model_name == "some-model"
    assert model.openai_api_base == "http://127.0.0.1:5/v1"
