"""The README says what is so: settings, Makefile targets, commands and links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from diffgraph.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """The table that must stand between the README's settings marks."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def between(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n?<!-- /{mark} -->", README, re.DOTALL)
    assert found, f"the README has lost its {mark} marks"
    return found.group(1)


def test_the_settings_table_matches_settings() -> None:
    assert between("settings") == settings_table(), f"put this into README.md:\n\n{settings_table()}\n"


def test_every_setting_is_explained() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_makefile_has_the_targets_the_readme_names() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert {"demo", "chat", "test", "test-all", "check", "eval", "bench", "world"} <= targets
    named = set(re.findall(r"`?make ([a-z-]+)", README)) - {"lists"}
    assert named <= targets


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


RECIPES = """
import re, sys, types, importlib
from pathlib import Path

for code in sys.stdin.read().split("\\0"):
    path = re.match(r"# ([a-z_/]+)\\.py", code).group(1)
    module = types.ModuleType("diffgraph." + path.replace("/", "."))
    module.__package__ = module.__name__.rpartition(".")[0]
    importlib.import_module(module.__package__)
    sys.modules[module.__name__] = module
    exec(compile(code, path, "exec"), module.__dict__)

from diffgraph.graph.experts import sources
from diffgraph.merging.formats.format import formats
from diffgraph.merging.methods.method import methods
from diffgraph.scoring import protocol
from diffgraph.tools.tool import tools

assert "count_skills" in tools("planner")
assert "mean" in methods()
assert "whole_diff" in formats()
assert "shelf" in sources.names()

from PIL import Image
from diffgraph.scoring.request import Wanted

verdict = protocol.make("colourful").score([Image.new("RGB", (2, 2))], [Wanted(facet="subject", text="octopus")])[0]
assert verdict.facets == {"octopus": 0.0}
"""


def test_the_recipes_run() -> None:
    """Each Python recipe is executed as the file it says it is, and its plug-in is found by name."""
    blocks = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if code.startswith("# ")]
    assert len(blocks) == 5
    done = subprocess.run(
        [sys.executable, "-c", RECIPES],
        input="\0".join(blocks),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_suite_recipe_is_a_suite(tmp_path: Path) -> None:
    from diffgraph.evals.suites.suite import load

    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "sea.yaml"
    path.write_text(block, encoding="utf-8")
    assert len(load(str(path)).all_items()) == 6


def test_the_commands_exist() -> None:
    from diffgraph.cli.main import app

    known = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    assert set(re.findall(r"^(?:\S+=\S+ )?diffgraph ([a-z]+)", README, re.MULTILINE)) <= known
