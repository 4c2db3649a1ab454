"""A tiny world of real models, and a graph of it whose experts are registered and calibrated by hand."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffgraph.agents.scout import scout
from diffgraph.graph.calibration.record import Calibration
from diffgraph.settings import Settings
from diffgraph.tools.context import Context


def _tiny_world() -> ModuleType:
    name = "diffgraph_tests_tiny_world"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("tiny_world.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module that makes tiny worlds."""
    return _tiny_world()


@pytest.fixture(scope="session")
def shared_world(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny world for all tests that only read it."""
    return tiny.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(shared_world: Path, tmp_path: Path) -> Path:
    """A copy of the tiny world that a test may change."""
    return Path(shutil.copytree(shared_world, tmp_path / "world"))


@pytest.fixture(scope="session")
def scouted_home(shared_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose graph holds the tiny world's experts, all found to work."""
    home = tmp_path_factory.mktemp("scouted")
    with Context.open(Settings(base=f"world:{shared_world}", home=home)) as ctx:
        registered, refused = scout(ctx)
        assert not refused
        for expert in registered:
            if expert.kind != "base":
                ctx.store.put_calibration(works(expert.id, expert.sha256))
    return home


def works(expert_id: str, sha256: str, verdict: Any = "works", weight: float = 0.9) -> Calibration:
    return Calibration(
        expert_id=expert_id,
        expert_sha256=sha256,
        plan_context_hash="by hand",
        gain={"subject": 0.5, "style": 0.5, "background": 0.5},
        best_weight=weight,
        verdict=verdict,
    )


Opened = Callable[..., Context]


@pytest.fixture
def make_settings(shared_world: Path, scouted_home: Path, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a fresh home with the scouted graph in it; what is good enough is not tried once more."""
    home = Path(shutil.copytree(scouted_home, tmp_path / "home"))

    def settings(**changes: Any) -> Settings:
        own = {"base": f"world:{shared_world}", "home": home, "steps": 2, "device": "cpu", "sure": 0.8}
        return Settings(**(own | changes))

    return settings


@pytest.fixture
def ctx(make_settings: Callable[..., Settings]) -> Iterator[Context]:
    """An open context on a fresh home."""
    with Context.open(make_settings()) as opened:
        yield opened


@pytest.fixture
def mood(world: Path, tiny: ModuleType) -> Callable[[float], Path]:
    """A world whose critic has another mood: 3 likes nearly everything, -3 nothing."""

    def change(shift: float, slope: float = 0.05) -> Path:
        tiny.critic(world / "scorers" / "critic", shift=shift, slope=slope)
        tiny.manifest(world)
        return world

    return change


@pytest.fixture
def put_works() -> Callable[..., Calibration]:
    """Makes a calibration by hand."""
    return works
