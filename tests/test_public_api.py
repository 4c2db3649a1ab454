"""The public API is this list; changing it is a decision, not an accident."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import diffgraph

ROOT = Path(__file__).resolve().parents[1]

PUBLIC = [
    "Activation",
    "BaseMissing",
    "BudgetExceeded",
    "Calibration",
    "Critic",
    "DiffGraphError",
    "Engine",
    "Expert",
    "ExpertError",
    "ExpertOrder",
    "ExternalError",
    "GraphStore",
    "MergePlan",
    "Method",
    "Orders",
    "PlanBase",
    "PlanError",
    "PlanExpert",
    "Relation",
    "RunResult",
    "Sampler",
    "Settings",
    "Skill",
    "SourceRef",
    "ToolFailed",
    "ToolRetry",
    "UserError",
    "Verdict",
    "Wanted",
    "WorldMissing",
    "__version__",
    "activate",
    "generate",
    "open_graph",
    "plan",
    "render",
    "render_plan",
]


def test_the_list() -> None:
    assert sorted(diffgraph.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(diffgraph))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_loads(name: str) -> None:
    assert getattr(diffgraph, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'generat'"):
        _ = diffgraph.generat


def test_type_checkers_see_what_is_loaded() -> None:
    """The imports under TYPE_CHECKING are the lazy ones, from the same modules."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert seen == diffgraph._HOME_OF


def test_importing_it_loads_no_library() -> None:
    libraries = {"torch", "chromadb", "langgraph", "pydantic", "typer"}
    code = f"import sys, diffgraph; print(sorted({libraries} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert diffgraph.__version__ == project["version"]
