"""The fixtures of tests/agents, which stand on the same tiny world."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_NAME = "diffgraph_tests_agents_conftest"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).parents[1] / "agents" / "conftest.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_NAME])
_shared = sys.modules[_NAME]

tiny, shared_world, world, scouted_home = _shared.tiny, _shared.shared_world, _shared.world, _shared.scouted_home
make_settings, ctx, mood, put_works = _shared.make_settings, _shared.ctx, _shared.mood, _shared.put_works
