"""No circle between two modules of the package, inside rooms either: nothing is reached from itself by imports.

Imports inside functions count, for they are arrows as well; those under ``TYPE_CHECKING`` do not run and do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SKIP = {"tests", "docs", "build", "dist", "node_modules"}


def modules() -> dict[str, Path]:
    """Dotted name within the package -> file; the package itself is ""."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in SKIP and not any(part.startswith(".") for part in parts):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def running(nodes: list[ast.stmt]) -> Iterator[ast.ImportFrom]:
    """The relative imports among statements and everything inside them, but for those that only a type checker sees."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from running(node.orelse)
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node
        for field in ("body", "orelse", "finalbody"):
            yield from running(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from running(handler.body)
        for case in getattr(node, "cases", []):
            yield from running(case.body)


def arrows(known: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    out: dict[str, set[str]] = {}
    for name, path in known.items():
        package = path.relative_to(ROOT).parent.parts
        out[name] = set()
        for node in running(ast.parse(path.read_text(encoding="utf-8")).body):
            home = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{home}.{alias.name}".lstrip(".")
                out[name].add(whole if whole in known else home)
        out[name] &= known.keys() - {name}
    return out


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of two modules and more (Tarjan 1972), written without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    waiting: list[str] = []
    found: list[list[str]] = []
    for start in sorted(graph):
        if start in index:
            continue
        stack = [(start, iter(sorted(graph[start])))]
        index[start] = low[start] = len(index)
        waiting.append(start)
        while stack:
            name, rest = stack[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    waiting.append(other)
                    stack.append((other, iter(sorted(graph[other]))))
                    break
                if other in waiting:
                    low[name] = min(low[name], index[other])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[name])
                if low[name] == index[name]:
                    at = waiting.index(name)
                    if len(waiting) - at > 1:
                        found.append(sorted(waiting[at:]))
                    del waiting[at:]
    return found


def test_no_module_is_reached_from_itself() -> None:
    assert circles(arrows(modules())) == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}, "g": set()}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["d", "e"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_arrows_inside_functions_count_and_those_for_type_checkers_do_not() -> None:
    code = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A\nelse:\n    from .b import B\n"
        "def f():\n    try:\n        from .c import C\n    except ImportError:\n        from .d import D\n"
        "match 1:\n    case 1:\n        from .e import E\n"
    )
    assert [node.module for node in running(ast.parse(code).body)] == ["b", "c", "d", "e"]


def test_the_graph_is_that_of_the_package() -> None:
    graph = arrows(modules())
    assert "errors" in graph["settings"]
    assert "cli.console" in graph["cli.main"]
    assert len(graph) > 150


def test_every_module_says_in_a_line_what_lives_there() -> None:
    for name, path in modules().items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, f"{name or path} has no docstring"
        first = text.split("\n\n")[0]
        assert len(first) < 240, f"{name}: its first sentence is no line: {first}"
