"""Every recipe of docs/extending, as a stranger would use it: copied into a package of its own, found by entry point.

The package lies beside DiffGraph on the path, as pip would put it there: modules, and a .dist-info with entry points.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "docs" / "extending"
NAME = "my_diffgraph"


@dataclass(frozen=True)
class Scratch:
    """A package made of the recipes, and how to run something beside it."""

    root: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the package's folder, with the package and DiffGraph importable."""
        path = os.pathsep.join([str(self.root), *(p for p in sys.path if p)])
        env = {**os.environ, "PYTHONPATH": path, **environment}
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False, timeout=240)

    def python(self, *arguments: str, **environment: str) -> str:
        """Standard output of a Python that must end well."""
        done = self.run(sys.executable, *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    root = tmp_path_factory.mktemp("stranger")
    shutil.copytree(RECIPES, root / NAME, ignore=shutil.ignore_patterns("test_*", "*.md", "pyproject.toml", "__*"))
    (root / NAME / "__init__.py").touch()
    (root / "tests").mkdir()
    for path in [*RECIPES.glob("test_*.py"), *RECIPES.glob("*.yaml")]:
        shutil.copy(path, root / "tests")
    shutil.copy(RECIPES / "pyproject.toml", root)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = root / f"{NAME}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    groups = [
        [f"[{group}]", *(f"{k} = {v}" for k, v in points.items())] for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(line for group in groups for line in group), encoding="utf-8")
    return Scratch(root)


def test_every_recipe_has_its_test_and_its_entry_point() -> None:
    recipes = {p.stem for p in RECIPES.glob("*.py") if not p.stem.startswith("test_")}
    tests = {p.stem.removeprefix("test_") for p in RECIPES.glob("test_*.py")}
    assert tests == recipes | {p.stem for p in RECIPES.glob("*.yaml")}
    points = tomllib.loads((RECIPES / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert {m for group in points.values() for m in group.values()} == {f"{NAME}.{stem}" for stem in recipes}


def test_ruff_and_mypy_find_nothing(scratch: Scratch, tmp_path: Path) -> None:
    """By the rules that the product keeps."""
    rules = ROOT / "pyproject.toml"
    for command in (["check"], ["format", "--check"]):
        done = scratch.run(sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(rules), ".")
        assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "diffgraph").symlink_to(ROOT)
    found = [str(scratch.root), str(tmp_path)]
    done = scratch.run(
        sys.executable, "-m", "mypy", "--config-file", str(rules), "--cache-dir", str(tmp_path / "cache"), "-p", NAME,
        MYPYPATH=os.pathsep.join(found),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_recipes_own_tests_pass(scratch: Scratch) -> None:
    scratch.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-W", "error", "tests")
