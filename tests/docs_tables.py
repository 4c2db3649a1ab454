"""Write the tables of docs/ that are read off the code: ``make docs``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import diffgraph.world  # noqa: F401  (brings a setting of its own)
from diffgraph.graph.experts import sources
from diffgraph.scoring import protocol
from diffgraph.settings import PREFIX, groups

sources.names()  # loads those that bring settings, as the next line does
protocol.names()
ROOT = Path(__file__).resolve().parents[1]
SKIP = {"tests", "docs", "build", "dist", "node_modules"}
ORDER = ("cli", "agents", "tools", "graph", "merging", "scoring", "prompts", "bases", "files", "", "evals", "world")
"""Rooms in the order in which they import each other; the root's own modules lie below all others."""


def settings_table() -> str:
    """Variable, default, meaning of every setting."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in (pair for group in groups() for pair in group.model_fields.items()):
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def rooms() -> dict[str, tuple[str, int, int]]:
    """Room ("merging/plan", "" for the root) -> (what lives there, its modules, their lines), sub-rooms apart."""
    found = {}
    for folder in sorted(_packages(), key=_place):
        files = sorted((ROOT / folder).glob("*.py"))
        lines = sum(path.read_text(encoding="utf-8").count("\n") for path in files)
        modules = sum(path.name != "__init__.py" for path in files)
        found[folder] = (_first_sentence(ROOT / folder / "__init__.py"), modules, lines)
    return found


def _packages() -> Iterator[str]:
    for path in ROOT.rglob("__init__.py"):
        parts = path.parent.relative_to(ROOT).parts
        if not any(part in SKIP or part.startswith(".") for part in parts):
            yield "/".join(parts)


def _place(folder: str) -> tuple[int, str]:
    top = folder.partition("/")[0]
    return (ORDER.index(top) if top in ORDER else len(ORDER), folder)


def _first_sentence(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".").replace("|", "\\|")


def rooms_table() -> str:
    """Every room with what lives there, how many modules (beside ``__init__``) and how many lines."""
    lines = ["| room | what lives there | modules | lines |", "|---|---|---:|---:|"]
    found = rooms()
    for folder, (said, modules, count) in found.items():
        lines.append(f"| {f'`{folder}/`' if folder else 'the root'} | {said} | {modules} | {count:,} |")
    modules, count = (sum(room[at] for room in found.values()) for at in (1, 2))
    return "\n".join([*lines, f"| all | | {modules} | {count:,} |"])


TABLES = {"settings": ("docs/settings.md", settings_table), "rooms": ("docs/architecture.md", rooms_table)}
"""Mark -> (the page that has it, what stands between ``<!-- mark -->`` and ``<!-- /mark -->``)."""


def with_table(page: str, mark: str, table: str) -> str:
    """The page with a table between its marks. Raises ValueError if it has lost them."""
    head, start, rest = page.partition(f"<!-- {mark} -->\n")
    _, end, tail = rest.partition(f"<!-- /{mark} -->")
    if not (start and end):
        raise ValueError(f"the marks of {mark} are gone")
    return f"{head}{start}{table}\n{end}{tail}"


def main() -> None:
    """Bring every table up to date."""
    for mark, (name, table) in TABLES.items():
        page = ROOT / name
        page.write_text(with_table(page.read_text(encoding="utf-8"), mark, table()), encoding="utf-8")


if __name__ == "__main__":
    main()
