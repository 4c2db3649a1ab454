"""The rules of docs/architecture.md, held over every file of the package by reading its syntax tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SKIP = {"tests", "build", "dist", "node_modules", "docs"}

FOUNDATION = {"errors", "settings", "plugins", "cleaning", "terminal"}
LOW = {"bases", "files"}
# room -> the rooms it may import (besides itself and the foundation), as docs/architecture.md draws them
MAY_IMPORT = {
    "errors": set(),
    "settings": set(),
    "plugins": set(),
    "cleaning": set(),
    "terminal": set(),
    "files": set(),
    "bases": {"files"},
    "prompts": set(),
    "merging": LOW,
    "scoring": LOW | {"prompts"},
    "graph": LOW | {"prompts", "merging"},
    "tools": LOW | {"graph", "merging", "scoring", "prompts"},
    "agents": LOW | {"tools", "graph", "merging", "scoring", "prompts"},
    "cli": LOW | {"agents", "tools", "graph", "merging", "scoring", "prompts", "evals"},
    "evals": LOW | {"agents", "tools", "graph", "merging", "scoring", "prompts", "world"},
    "world": LOW | {"agents", "tools", "graph", "merging", "scoring", "prompts", "evals"},
    "__init__": {"agents", "tools", "graph", "merging", "scoring", "prompts"},
}
TORCH = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "sentence_transformers"}
LANG = ("langchain", "langgraph", "langsmith")
MAX_LINES = 400


@dataclass(frozen=True)
class Import:
    """One imported name: absolute and dotted, with its line and whether it runs when the module is imported."""

    name: str
    line: int
    at_import: bool


@cache
def package_files() -> tuple[Path, ...]:
    """Every Python file of the package, relative to its root."""
    found = []
    for path in ROOT.rglob("*.py"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in SKIP and not any(part.startswith(".") for part in relative.parts):
            found.append(relative)
    return tuple(sorted(found))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    parts = ["diffgraph", *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolve(path: Path, node: ast.ImportFrom) -> str:
    """The absolute dotted module that a ``from`` import means."""
    if node.level == 0:
        return node.module or ""
    package = ["diffgraph", *path.parent.parts]
    base = package[: len(package) - (node.level - 1)]
    return ".".join([*base, node.module] if node.module else base)


def imports_in(path: Path, tree: ast.Module) -> Iterator[Import]:
    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, at_import)
            elif isinstance(child, ast.ImportFrom):
                module = resolve(path, child)
                for alias in child.names:
                    yield Import(f"{module}.{alias.name}", child.lineno, at_import)
            else:
                in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, at_import and not in_function)

    yield from walk(tree, True)


def imports_of(path: Path) -> tuple[Import, ...]:
    return tuple(imports_in(path, tree_of(path)))


def room_of(module: str) -> str:
    """The room a dotted module lies in: the first name under ``diffgraph``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_inside(path: Path, *folders: str) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def each(paths: tuple[Path, ...] | None = None) -> list[object]:
    return [pytest.param(p, id=str(p)) for p in (package_files() if paths is None else paths)]


@pytest.mark.parametrize("path", each())
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(module_name(path))
    allowed = MAY_IMPORT[room] | FOUNDATION | {room}
    for found in imports_of(path):
        if found.name.startswith("diffgraph.") and found.name != "diffgraph.__version__":
            assert room_of(found.name) in allowed, f"{path}:{found.line}: {room} may not import {found.name}"
            # `diffgraph eval` starts an eval: the one door into evals, opened when the command runs.
            assert room != "cli" or room_of(found.name) != "evals" or not found.at_import, f"{path}:{found.line}"


@pytest.mark.parametrize("path", each())
def test_the_package_imports_itself_relatively(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] != "diffgraph", f"{path}:{node.lineno} import it relatively"
        elif isinstance(node, ast.Import):
            assert all(a.name.split(".")[0] != "diffgraph" for a in node.names), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", each())
def test_torch_stays_in_its_rooms(path: Path) -> None:
    found = [i for i in imports_of(path) if i.name.split(".")[0] in TORCH or i.name.startswith("safetensors.torch")]
    if path == Path("graph/embedding.py") or is_inside(path, "cli") or len(path.parts) == 1:
        found = [i for i in found if i.at_import]  # lazily, inside a function
    elif not is_inside(path, "graph", "prompts", "agents", "merging/plan"):
        return
    assert not found, f"{path}:{found[0].line} imports {found[0].name}"


@pytest.mark.parametrize("path", each())
def test_agent_libraries_stay_out_of_the_lower_rooms(path: Path) -> None:
    if not is_inside(path, "files", "bases", "graph", "merging", "scoring", "prompts", "world"):
        return
    for found in imports_of(path):
        assert not found.name.startswith(LANG), f"{path}:{found.line} imports {found.name}"


@pytest.mark.parametrize("path", each())
def test_only_evals_know_the_judge(path: Path) -> None:
    if is_inside(path, "evals", "world"):
        return
    for found in imports_of(path):
        assert "judge" not in found.name.lower(), f"{path}:{found.line} imports {found.name}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.strip("/").lower() not in ("judge", "scorers/judge"), f"{path}:{node.lineno} names it"


@pytest.mark.parametrize("path", each())
def test_files_stay_readable(path: Path) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines < MAX_LINES, f"{path} has {lines} lines; split it"


@pytest.mark.parametrize("path", each())
def test_nothing_is_swallowed(path: Path) -> None:
    """A handler for everything may only clean up and raise again."""
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = [] if node.type is None else node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {c.id for c in caught if isinstance(c, ast.Name)}
        if node.type is None or names & {"Exception", "BaseException"}:
            last = node.body[-1]
            again = isinstance(last, ast.Raise) and last.exc is None
            assert again, f"{path}:{node.lineno} catches everything; name what can go wrong"


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in package_files()}


def imported_modules(path: Path) -> set[str]:
    """The modules of ours that a module imports, anywhere in it, for types only as well."""
    found = set()
    for each_import in imports_of(path):
        parts = each_import.name.split(".")
        names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        found |= {next((name for name in names if name in modules()), "")}
    return found - {"", "diffgraph", module_name(path)}


@pytest.mark.parametrize("room", ["files", "bases", "merging"])
def test_no_module_imports_itself_by_way_of_others(room: str) -> None:
    left = {name: imported_modules(path) for name, path in modules().items() if is_inside(path, room)}
    while done := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in done}
    assert not left, f"in a circle, or above one: {', '.join(sorted(left))}"


def test_packages_listed_are_the_packages_there() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(config["tool"]["setuptools"]["packages"])
    there = {module_name(p) for p in package_files() if p.name == "__init__.py" and not is_inside(p, "world")}
    assert listed == there, "the wheel holds all of the product and leaves the embedded world out"


PRODUCT = ("agents", "tools", "graph", "merging", "scoring", "bases", "files", "prompts", "cli")
PRODUCT_FILES = ("settings.py", "plugins.py", "errors.py")
ORDINARY = {("graph/reading/words.py", "place world life")}
"""(file, what it says): words of a list of English words."""


def words_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every name and string of a module; docstrings, which only explain, are left out."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.lineno, node.arg or ""
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


@pytest.mark.parametrize("path", each(tuple(p for p in package_files() if is_inside(p, *PRODUCT, *PRODUCT_FILES))))
def test_no_product_room_knows_the_embedded_world(path: Path) -> None:
    """It is one base among others, reached through entry points; which base is the default is said by the base."""
    for line, text in words_in(tree_of(path)):
        if re.search(r"(?<![a-z])(world|emoji)(?![a-z])", text.replace("_", " ").casefold()):
            assert any(path == Path(file) and said in text for file, said in ORDINARY), f"{path}:{line}: {text[:60]!r}"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from ..graph.expert import Expert", "diffgraph.graph.expert.Expert"),
        ("from . import store", "diffgraph.tools.store"),
        ("from .. import errors", "diffgraph.errors"),
        ("def f():\n    import torch.nn as nn", "torch.nn"),
    ],
)
def test_imports_are_resolved(source: str, name: str) -> None:
    found = list(imports_in(Path("tools/merge.py"), ast.parse(source)))
    assert [i.name for i in found] == [name]
    assert found[0].at_import is not source.startswith("def")


def light_modules() -> list[str]:
    """Modules that must be importable in a process that never pays for torch."""
    files = [
        p
        for p in package_files()
        if is_inside(p, "graph", "prompts", "bases", "files", "cli", "merging/plan") or len(p.parts) == 1
    ]
    files = [p for p in files if p.name != "__main__.py"]
    return sorted({module_name(p) for p in files} | {"diffgraph.world"})


def test_light_modules_do_not_load_torch() -> None:
    code = (
        f"import importlib, sys\nfor name in {light_modules()!r}:\n    importlib.import_module(name)\n"
        f"print(sorted({TORCH!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


JSON_BORDER = {
    ("tools/tool.py", "call"),  # what a brain hands to a tool, before it is validated
    ("agents/completions/body.py", "_calls"),  # what a server sent
    ("agents/completions/body.py", "_usage"),
    ("agents/brains/offline.py", "bind_tools"),  # LangChain's signature
    ("agents/runs/folder.py", "read_json"),  # a file of a run folder, before it is validated
}
"""Functions of tools and agents that may be handed, or hand out, JSON of any shape."""
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "TypedDict"}


def shapeless(annotation: ast.expr | None) -> bool:
    """Whether an annotation speaks of a mapping whose values may be anything."""
    if annotation is None:
        return False
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    typed = {id(n.value) for n in ast.walk(annotation) if isinstance(n, ast.Subscript)}
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and node.id in _MAPPINGS and id(node) not in typed:
            return True
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") in _MAPPINGS:
            named = {n.id for n in ast.walk(node.slice) if isinstance(n, ast.Name)}
            if named & {"Any", "object"}:
                return True
    return False


def shapeless_places(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions, and attributes of classes, that carry shapeless mappings: their name and line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
            if any(shapeless(part.annotation) for part in parts if part) or shapeless(node.returns):
                yield node.name, node.lineno
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and shapeless(field.annotation):
                    yield node.name, field.lineno


def test_agents_and_tools_hand_each_other_models() -> None:
    found = {
        (path.as_posix(), name): line
        for path in package_files()
        if is_inside(path, "agents", "tools")
        for name, line in shapeless_places(tree_of(path))
    }
    assert set(found) == JSON_BORDER, {f"{p}:{found[p, n]} {n}" for p, n in set(found) - JSON_BORDER}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(a: dict[str, Any]) -> None: ...", ["f"]),
        ("def f() -> list[Mapping[str, object]]: ...", ["f"]),
        ("def f(*, a: 'dict[str, Any] | None' = None): ...", ["f"]),
        ("def f(a: dict) -> None: ...", ["f"]),
        ("class C:\n    a: dict[str, Any] = {}", ["C"]),
        ("class C:\n    def f(self) -> dict[str, list[Any]]: ...", ["f"]),
        ("def f(a: dict[str, float], b: Any) -> Mapping[str, JsonValue]: ...", []),
    ],
)
def test_shapeless_mappings_are_found(source: str, names: list[str]) -> None:
    assert [name for name, _ in shapeless_places(ast.parse(source))] == names
