"""Every recipe of docs/extending, as a stranger would use it: in a package of its own, and in the folders here.

The package lies beside DiffGraph on the path, as pip would put it there: modules, and a .dist-info with entry points.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgraph import Expert, MergePlan, Method
from diffgraph.bases.index import BaseIndex
from diffgraph.merging.formats import read_expert

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "docs" / "extending"
NAME = "my_diffgraph"
pytestmark = pytest.mark.timeout(900)  # a busy machine takes minutes for what takes seconds


COMMANDS = """
import contextlib, io, json, sys
from diffgraph.cli.main import app

for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        app(arguments, standalone_mode=False)
    print(json.dumps(json.loads(said.getvalue())))
"""


@dataclass(frozen=True)
class Scratch:
    """A package made of the recipes, and how to run something beside it."""

    root: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the package's folder, with the package and DiffGraph importable."""
        path = os.pathsep.join([str(self.root), *(p for p in sys.path if p)])
        env = {**os.environ, "PYTHONPATH": path, **environment}
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False, timeout=600)

    def python(self, *arguments: str, **environment: str) -> str:
        """Standard output of a Python that must end well."""
        done = self.run(sys.executable, *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def diffgraph(self, *commands: Sequence[str], **environment: str) -> list[Any]:
        """What the product's commands answer with ``--json``, one after the other in one process."""
        arguments = json.dumps([[*command, "--json"] for command in commands])
        return [json.loads(line) for line in self.python("-c", COMMANDS, arguments, **environment).splitlines()]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """Every recipe in a package of one's own, laid out as the page shows it."""
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


@dataclass(frozen=True)
class Row:
    """A line of the page's table: where a recipe goes; ``recipe`` is "" where a file of the product is the example."""

    recipe: str
    group: str
    folder: str

    @property
    def test(self) -> str:
        return f"test_{Path(self.recipe).stem}.py"


def rows() -> list[Row]:
    page = (RECIPES / "README.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[2:-1]] for line in page.splitlines() if line.startswith("| a")]
    links = [re.findall(r"\]\(([^)]+)\)", recipe) for recipe, _, _ in cells]
    recipes = ["" if link[0].startswith("..") else link[0] for link in links]
    return [
        Row(recipe, group.strip("`"), folder.strip("`/"))
        for recipe, (_, group, folder) in zip(recipes, cells, strict=True)
    ]


def test_the_table_names_every_sort_of_plug_in() -> None:
    code = [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    groups = {group for text in code for group in re.findall(r"\bRegistry\(\s*\"[^\"]+\", \"(diffgraph\.\w+)\"", text)}
    assert {"diffgraph.tools", "diffgraph.families", "diffgraph.adapter_algorithms"} <= groups
    assert {row.group for row in rows() if row.group.startswith("diffgraph.")} == groups
    recipes = {p.name for p in RECIPES.iterdir() if p.suffix in (".py", ".yaml") and not p.name.startswith("test_")}
    assert {row.recipe for row in rows()} - {""} == recipes


def test_no_recipe_overwrites_a_file_where_it_goes() -> None:
    placed = [row for row in rows() if row.recipe and not row.folder.startswith("none")]
    assert len(placed) >= 12
    for row in placed:
        assert (ROOT / row.folder).is_dir()
        assert not (ROOT / row.folder / row.recipe).exists(), row
        assert not (ROOT / "tests" / row.folder / row.test).exists(), row


def relative(code: str, folder: str) -> str:
    """A recipe's code with its imports of the product as they are written in a folder of it."""
    return re.sub(r"^from diffgraph\.", "from " + "." * (folder.count("/") + 2), code, flags=re.MULTILINE)


def test_the_recipes_work_in_the_folders_here(tmp_path: Path) -> None:
    """In a copy of the repository: their tests, ruff (which sorts their imports), and the rules of the house."""
    tree = tmp_path / "diffgraph"
    aside = shutil.ignore_patterns(".*", "__pycache__", "hub", "scorers", "oracle", "build", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=aside)
    for data in ("hub", "scorers"):
        (tree / "world" / data).symlink_to(ROOT / "world" / data)
    tests = []
    for row in rows():
        if not row.recipe or row.folder.startswith("none"):
            continue
        code = (RECIPES / row.recipe).read_text(encoding="utf-8")
        (tree / row.folder / row.recipe).write_text(relative(code, row.folder), encoding="utf-8")
        test = (RECIPES / row.test).read_text(encoding="utf-8")
        by_name = test.replace('str(Path(__file__).with_name("sea_animals.yaml"))', '"sea_animals"')
        tests.append(tree / "tests" / row.folder / row.test)
        tests[-1].parent.mkdir(parents=True, exist_ok=True)
        tests[-1].write_text(by_name, encoding="utf-8")
    here = Scratch(tmp_path)
    done = here.run(sys.executable, "-m", "ruff", "check", "--fix", "--no-cache", str(tree))
    assert done.returncode == 0, done.stdout + done.stderr
    rules = [tree / "tests" / f"test_{name}.py" for name in ("architecture", "circles")]
    here.python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tree), "-c", str(tree / "pyproject.toml"),
        *map(str, (*tests, *rules)),
    )  # fmt: skip


def test_the_package_is_made_as_the_page_says(tmp_path: Path) -> None:
    """Its commands word for word, but that what pip builds and installs is built and unpacked without a network."""
    page = (RECIPES / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```sh\n(mkdir .*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = [line for line in block.group(1).splitlines() if not line.startswith(".venv/")]
    clone, plugins = tmp_path / "clone", tmp_path / "my-plugins"
    clone.mkdir()
    (clone / "docs").symlink_to(ROOT / "docs")
    subprocess.run(["bash", "-e", "-c", "\n".join(lines)], cwd=clone, check=True)
    tree = re.search(r"^```\nmy-plugins/\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert tree is not None
    said = {line.split()[0] for line in tree.group(1).splitlines()}
    assert said == {p.relative_to(plugins).as_posix() for p in plugins.rglob("*") if p.is_file()}
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    built = Scratch(plugins).run(sys.executable, "-c", build, str(tmp_path))
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    Scratch(tmp_path / "site").python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(plugins / "tests"))


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


# -- in the product

PROMPT = "octopus, blueprint style"


class Ollama(ThreadingHTTPServer):
    """A model server on this machine: it plans by the tools that it is offered, and leaves judging to the machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.offered: set[str] = set()
        self.results: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        offered = {tool["function"]["name"] for tool in asked["tools"]}
        self.offered |= offered
        results = [m["content"] for m in asked["messages"] if m["role"] == "tool"]
        self.results += results
        moves = [("count_skills", {"facet": "style"}), ("activate_experts", {"prompt": PROMPT}), ("propose_plan", {})]
        if "propose_plan" not in offered or len(results) >= len(moves):
            return {"role": "assistant", "content": "I see nothing to do."}
        name, arguments = moves[len(results)]
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"id": f"call_{len(results)}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}


class _Handler(BaseHTTPRequestHandler):
    server: Ollama

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = self.server.answer(asked)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "model": asked["model"], "choices": [choice]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    server = Ollama()
    yield server
    server.shutdown()
    server.server_close()


def test_an_evaluation_with_all_of_them(scratch: Scratch, ollama: Ollama, tmp_path: Path) -> None:
    """The suite names judge and metric; in its arm "ours" the brain plans, with the tool and by the method, and the
    critic looks.
    """
    suite = tmp_path / "sea.yaml"
    text = (RECIPES / "sea_animals.yaml").read_text(encoding="utf-8")
    suite.write_text(f"{text}judge: stands-out\nmetrics: [colourful]\n", encoding="utf-8")
    aliases, done = scratch.diffgraph(
        ["eval", "aliases", "--limit", "2"],
        ["eval", str(suite), "--arms", "base,half,ours", "--seeds", "1", "--limit", "1"],
        DIFFGRAPH_BRAIN="ollama:some-model",
        OLLAMA_HOST=f"http://127.0.0.1:{ollama.server_port}",
        DIFFGRAPH_METHOD="mean",
        DIFFGRAPH_CRITIC="colours",
        DIFFGRAPH_ROUNDS="0",
    )
    rows = {row["arm"]: row for row in map(json.loads, Path(done["log"]).read_text(encoding="utf-8").splitlines())}
    assert aliases["summary"] == {"asked": 2, "right": 2}
    assert set(rows) == {"base", "half", "ours"}
    assert all(0 < row["metrics"]["colourful"] <= 1 for row in rows.values())
    assert set(rows["half"]["experts"].values()) == {0.5}
    assert {row["judge"]["subject"] for row in rows.values()} <= {"something", "nothing"}
    assert {row["critic"] for row in rows.values()} == {0.5}, "colours knows neither octopus nor blueprint"
    assert rows["ours"]["method"] == "mean"
    assert set(rows["ours"]["experts"]) == {"world/blueprint", "world/sea-life"}
    assert "count_skills" in ollama.offered
    assert json.loads(ollama.results[0])["count"] > 0


HUB = ROOT / "world" / "hub"
BASE = HUB / "emoji-base"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A drive with one expert on it, in the recipe's format: the world's sea life under a name that says nothing."""
    folder = tmp_path / "drive" / "number-7"
    folder.mkdir(parents=True)
    (file,) = (HUB / "sea-life").glob("*.safetensors")
    deltas = read_expert(file, BaseIndex.open(BASE)).deltas
    save_file({f"{k}.whole_diff": d.dense() for k, d in deltas.items()}, folder / "w.safetensors")
    shutil.copy(HUB / "sea-life" / "README.md", folder)
    return folder.parent


def test_an_expert_of_the_format_is_scouted_and_merged(scratch: Scratch, shelf: Path, tmp_path: Path) -> None:
    """The source is asked for a skill that no folder's name says; the plan takes what it found, by the method."""
    here = {"DIFFGRAPH_SOURCES": f"world,shelf:{shelf}"}
    found, shown, proposed = scratch.diffgraph(
        ["scout", "shelf", "--query", "lobster"], ["expert", "shelf/number-7"], ["plan", PROMPT], **here
    )
    assert (found["registered"], found["refused"]) == (["shelf/number-7"], [])
    assert shown["expert"]["kind"] == "whole_diff"

    plan = MergePlan.model_validate(proposed["plan"])
    expert = Expert.model_validate(shown["expert"])
    style, subject = plan.experts
    assert (style.id, subject.id) == ("world/blueprint", "world/sea-life")
    mine = subject.model_copy(update={"id": expert.id, "ref": str(expert.ref), "sha256": expert.sha256})
    by_mean = Method(name="mean")
    plans = {
        "sum": plan,
        "mean": plan.model_copy(update={"method": by_mean}),
        "mine": plan.model_copy(update={"method": by_mean, "experts": (mine, style)}),
    }
    for name, one in plans.items():
        (tmp_path / name).write_text(one.model_dump_json(), encoding="utf-8")
    checks = [["plan", "--check", str(tmp_path / name)] for name in plans]
    merge = ["merge", str(tmp_path / "mine"), "-o", str(tmp_path / "merged"), "--as", "full"]
    here["DIFFGRAPH_BASE"] = f"studio:{BASE}"
    own, priced_sum, priced_mean, checked, merged = scratch.diffgraph(["plan", PROMPT], *checks, merge, **here)
    assert own["plan"]["sampler"]["steps"] == 12
    assert checked["ok"]
    assert priced_mean["estimate"]["peak_bytes"] == priced_sum["estimate"]["peak_bytes"], "both stay in factors"

    index = BaseIndex.open(BASE)
    parts = [
        (expert.weight, read_expert(next((HUB / name).glob("*.safetensors")), index).deltas)
        for expert, name in ((style, "blueprint"), (subject, "sea-life"))
    ]
    shared = sorted(name for name in parts[0][1].keys() & parts[1][1].keys() if name.startswith("unet."))
    before, after = (load_file(folder / UNET) for folder in (BASE, Path(merged["path"])))
    for target in shared[:5]:
        name = target.removeprefix("unet.")
        mean = sum(weight * deltas[target].dense() for weight, deltas in parts) / 2
        torch.testing.assert_close(after[name].float(), before[name].float() + mean, rtol=1e-3, atol=1e-3)
        assert not torch.equal(after[name], before[name])
