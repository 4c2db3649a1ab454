"""A brain: a chat model of an Ollama server, as in ``DIFFGRAPH_BRAIN=ollama:qwen3``."""

from __future__ import annotations

import os

from langchain_core.language_models import BaseChatModel

from diffgraph.agents.brains.brain import brain
from diffgraph.agents.completions.client import connected
from diffgraph.settings import Settings


@brain("ollama")
def ollama(model: str, settings: Settings) -> BaseChatModel:
    """Any LangChain chat model that can call tools will do; what stands behind the colon is handed over."""
    server = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
    return connected(model or "qwen3", "none", f"{server}/v1", settings)
