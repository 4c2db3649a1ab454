"""The fixtures of tests/merging, which make a tiny pipeline and tiny experts for it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_NAME = "diffgraph_tests_merging_conftest"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).parents[1] / "merging" / "conftest.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_NAME])

base_dir = sys.modules[_NAME].base_dir
shared = sys.modules[_NAME].shared
world = sys.modules[_NAME].world
session_engine = sys.modules[_NAME].session_engine
engine = sys.modules[_NAME].engine
metadata_of = sys.modules[_NAME].metadata_of
