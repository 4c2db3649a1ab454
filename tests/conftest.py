"""Every test runs offline, in a home of its own, with few threads."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
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
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _find_pico() -> None:
    """Makes ``tests/pico`` importable as ``diffgraph_pico``: tests lie in no package."""
    folder = Path(__file__).with_name("pico")
    spec = importlib.util.spec_from_file_location(
        "diffgraph_pico", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["diffgraph_pico"] = module
    spec.loader.exec_module(module)


_find_pico()


@dataclass(frozen=True)
class Pico:
    """A family's pico pipeline and what lies beside it; made when it is first asked for. Never written to by a test.

    Attributes:
        name: of the family.
        base: the diffusers folder.
        hub: a folder of repositories with cards, its LoRAs.
    """

    name: str
    base: Path
    hub: Path


@pytest.fixture(scope="session")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pico]:
    """A family's pico pipeline by the family's name (`diffgraph_pico.pipelines.MAKERS`), made once a session."""

    @functools.cache
    def make(name: str) -> Pico:
        from diffgraph_pico import experts, pipelines

        root = tmp_path_factory.mktemp(f"pico_{name}")
        base = pipelines.build(name, root / "models" / pipelines.FOLDERS[name])
        return Pico(name, base, experts.build(name, base, root / "hub"))

    return make


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
