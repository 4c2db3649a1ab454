"""Every test runs offline, in a home of its own, with few threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read by libraries when they are first imported, so set before any test module is; children of a test inherit them.
# (Sockets beyond loopback are refused by pytest-socket, see pyproject.toml.)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DIFFGRAPH_HOME lies in a fresh folder; the developer's settings and keys do not reach a test."""
    from diffgraph.settings import Settings

    for name in [n for n in os.environ if n.startswith(("DIFFGRAPH_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DIFFGRAPH_HOME", str(home))
    return home


@pytest.fixture
def home(_own_home: Path) -> Path:
    """The folder that DIFFGRAPH_HOME names during this test."""
    return _own_home
