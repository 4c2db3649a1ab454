"""A brain: a chat model of an Ollama server, as in ``DIFFGRAPH_BRAIN=ollama:qwen3``."""

from __future__ import annotations

import os

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from diffgraph.agents.brains.brain import brain


@brain("ollama")
def ollama(model: str) -> BaseChatModel:
    """Any LangChain chat model that can call tools will do; what stands behind the colon is handed over."""
    server = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
    return ChatOpenAI(model=model or "qwen3", base_url=f"{server}/v1", api_key=SecretStr("none"), timeout=120.0)
