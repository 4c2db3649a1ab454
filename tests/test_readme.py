"""README and docs/ say what is so: settings, rooms, targets, commands, files and links."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from typer.main import get_command

from diffgraph.settings import groups

ROOT = Path(__file__).resolve().parents[1]
TABLES: dict[str, Any] = runpy.run_path(str(ROOT / "tests" / "docs_tables.py"))
PAGES = [Path("README.md"), *sorted(p.relative_to(ROOT) for p in (ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_README_BYTES = 8192


def read(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def each_page() -> list[Any]:
    return [pytest.param(page, id=str(page)) for page in PAGES]


def between(mark: str, text: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n?<!-- /{mark} -->", text, re.DOTALL)
    assert found, f"the marks of {mark} are gone"
    return found.group(1)


def test_the_readme_is_one_page() -> None:
    assert (ROOT / "README.md").stat().st_size <= MAX_README_BYTES


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README)}
    assert {(ROOT / page).resolve() for page in PAGES[1:]} <= linked


@pytest.mark.parametrize("page", each_page()[1:])
def test_a_page_begins_with_whom_it_is_for(page: Path) -> None:
    title, _, text = read(page).partition("\n\n")
    assert title.startswith("# ")
    assert text.startswith("For whoever ")


# -- what is read off the code


def test_the_settings_table_matches_settings() -> None:
    assert between("settings", read("docs/settings.md")) == TABLES["settings_table"](), (
        "make docs (tests/docs_tables.py) writes it"
    )


def test_every_setting_is_explained() -> None:
    assert all(field.description for group in groups() for field in group.model_fields.values())


def test_the_table_of_rooms_is_about_right() -> None:
    """Every room is there; its figures may lag behind by a fifth, so that a plug-in stays one file and one test."""
    rows = re.findall(
        r"^\| (`([a-z_/]+)/`|the root) \| (.*) \| (\d+) \| ([\d,]+) \|$", read("docs/architecture.md"), re.MULTILINE
    )
    written = {folder: (int(modules), int(lines.replace(",", ""))) for _, folder, _, modules, lines in rows}
    rooms = TABLES["rooms"]()
    counted = {folder: room[1:] for folder, room in rooms.items()}
    said = {folder: (told, room[0]) for _, folder, told, *_ in rows if (room := rooms.get(folder))}
    assert all(told == lives for told, lives in said.values()), "make docs (tests/docs_tables.py) writes it"
    assert all(lives for _, lives in said.values()), "a room's docstring says what lives there"
    assert written.keys() == counted.keys(), "make docs (tests/docs_tables.py) writes it"
    for folder, (modules, lines) in counted.items():
        told = written[folder]
        near = abs(told[0] - modules) <= max(3, modules // 5) and abs(told[1] - lines) <= max(300, lines // 5)
        assert near, f"{folder} has {modules} modules and {lines} lines, not {told}: make docs writes the table"


def test_the_hops_of_a_request_are_functions_of_these_types() -> None:
    row = r"^\| \d+ \| `([a-z_/]+\.py)` \| `(?:(\w+)\.)?(\w+)` \| (.*) \| (.*) \|$"
    hops = re.findall(row, read("docs/architecture.md"), re.MULTILINE)
    assert len(hops) == 10
    for path, owner, name, goes_in, comes_out in hops:
        body = ast.parse(read(path)).body
        if owner:
            body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner)
        found = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == name]
        assert found, f"{path} has no {name}"
        first = comes_out.partition(";")[0].partition(":")[0]
        for said, signature in ((goes_in, found[0].args), (first, found[0].returns)):
            assert signature is not None
            types = set(re.findall(r"\w+", ast.unparse(signature)))
            assert set(re.findall(r"`(\w+)`", said)) <= types, f"{path}: {name} is a function of {types}"


def test_modules_that_moved_are_where_the_changelog_says() -> None:
    rows = re.findall(r"^\| `([a-z_. ]+)` \| (.*→.*) \|$", between("moved", read("CHANGELOG.md")), re.MULTILINE)
    assert len(rows) > 20
    for room, cell in rows:
        folder = ROOT if room == "the root" else ROOT / room.replace(".", "/")
        for name in re.findall(r"`(\w+)`(?! →)", cell):
            assert (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file(), f"{room}: {name}"


# -- what a reader types


def test_the_makefile_has_the_targets_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    assert {"demo", "chat", "test", "test-all", "check", "eval", "bench", "world", "docs"} <= targets
    for page in PAGES:
        named = set(re.findall(r"(?:`|^)make ([a-z-]+)", read(page), re.MULTILINE))
        assert named <= targets, page


@pytest.mark.parametrize("page", each_page())
def test_commands_and_their_options_exist(page: Path) -> None:
    from diffgraph.cli.main import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    blocks = re.findall(r"^```sh\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`((?:\w+=\S+ )?diffgraph [^`]+)`", read(page))
    for line in [*(line for block in blocks for line in block.splitlines()), *inline]:
        for name, rest in re.findall(r"(?:^|&& |\s)diffgraph ([a-z]+)([^&|#]*)", line):
            assert name in known, f"{page}: diffgraph {name}"
            command = known[name]
            if (group := getattr(command, "commands", None)) and (word := rest.split()[:1]):
                assert word[0] in group, f"{page}: diffgraph {name} {word[0]}"
                command = group[word[0]]
            options = {option for parameter in command.params for option in parameter.opts}
            said = set(re.findall(r"(?<= )--?[a-z][a-z-]*", re.sub(r'"[^"]*"', "", rest)))
            assert said <= options | {"--help"}, f"{page}: {line}"


@pytest.mark.parametrize("page", each_page())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = read(page)
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        name, _, anchor = target.partition("#")
        to = (ROOT / page).parent / name if name else ROOT / page
        assert to.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", to.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, (
                f"{page}: {target}"
            )


@pytest.mark.parametrize("page", each_page())
def test_tables_and_headings_render(page: Path) -> None:
    """A missing blank line turns a table into a paragraph of bars, and a cell too many is dropped."""
    text = read(page)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(t.type == "heading_open" and t.tag == "h1" for t in tokens) == 1
    assert not [t.content for t in tokens if t.type == "inline" and re.match(r"[|#]", t.content)]
    assert sum(t.type == "table_open" for t in tokens) == len(re.findall(r"^\|(?: ?:?-+:? ?\|)+$", text, re.MULTILINE))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, f"{page}: {table[:80]}"


@pytest.mark.parametrize("page", [*each_page(), "CHANGELOG.md"])
def test_files_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.[a-z]+)?)`", read(page)):
        assert (ROOT / name).exists() or name in ("folder/", "my-loras/"), f"{page} names {name}"


@pytest.mark.parametrize("page", each_page())
def test_settings_that_are_named_are_there(page: Path) -> None:
    known = set(re.findall(r"`(DIFFGRAPH_\w+)` \|", TABLES["settings_table"]()))
    assert set(re.findall(r"DIFFGRAPH_[A-Z_]*[A-Z]", read(page))) <= known


@pytest.mark.parametrize("page", each_page())
def test_relations_that_nothing_produces_are_not_promised(page: Path) -> None:
    assert not re.search(r"derived-from|synergy|used-together", read(page))
