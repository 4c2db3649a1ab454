"""The command line as a person meets it: own processes, real graph, real exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from diffgraph import errors
from diffgraph.bases import registry
from diffgraph.bases.profile import BaseProfile
from diffgraph.cli import doctor
from diffgraph.cli.console import Commands
from diffgraph.cli.main import app
from diffgraph.files.hashing import file_sha256
from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.graph.store.opening import marker, open_graph, take_in
from diffgraph.scoring import protocol
from diffgraph.settings import Settings

HEAVY = ("torch", "diffusers", "transformers", "langgraph", "langchain_core")


def an_expert(name: str, facet: str = "subject") -> Expert:
    return Expert.model_validate(
        {
            "id": f"world/{name}",
            "title": name.replace("-", " ").title(),
            "ref": SourceRef(source="world", repo=name, revision="main", file="weights.safetensors"),
            "sha256": name[0].encode().hex() * 32,
            "base_family": "emoji",
            "kind": "lora",
            "rank": 8,
            "size_bytes": 1_000_000,
            "licence": "apache-2.0",
            "skills": [Skill(facet=facet, name="octopus", trigger="octopus", aliases=("tentacles",))],
            "text": f"{name}: octopus [bold]not markup[/bold]",
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world folder with a calibrated graph of two experts and no weights."""
    root = tmp_path_factory.mktemp("world")
    (root / "hub" / "emoji-base").mkdir(parents=True)
    (root / "hub" / "emoji-base" / "model_index.json").write_text("{}")
    with GraphStore(tmp_path_factory.mktemp("graph")) as store:
        first, second = an_expert("sea-life"), an_expert("blueprint", "style")
        store.add_experts([first, second])
        store.put_calibration(
            Calibration(
                expert_id=first.id,
                expert_sha256=first.sha256,
                plan_context_hash="c0ffee",
                gain={"octopus": 0.75},
                best_weight=0.9,
                consistency=0.5,
                verdict="works",
            )
        )
        store.export_jsonl(root / "graph" / "graph.jsonl")
    return sealed(root)


def profile_of(world: Path) -> BaseProfile:
    """The profile of the base in a world's folder."""
    return registry.chosen(f"world:{world}")


def sealed(root: Path) -> Path:
    """The folder, with a manifest over all that is in it."""
    files = {
        p.relative_to(root).as_posix(): file_sha256(p)
        for p in root.rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }
    (root / "manifest.json").write_text(json.dumps({"files": files}), encoding="utf-8")
    return root


@pytest.fixture
def environment(world: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The world above, for this process and for its children."""
    monkeypatch.setenv("DIFFGRAPH_WORLD", str(world))
    return dict(os.environ)


def diffgraph(*words: str, app: typer.Typer = app) -> Result:
    """Run a command in this process; what it wrote and its exit code."""
    return CliRunner().invoke(app, list(words), prog_name="diffgraph")


def run_and_list_modules(environment: dict[str, str], *words: str) -> tuple[int, set[str]]:
    """The exit code of a command, and which heavy libraries it loaded."""
    code = (
        "import sys\nfrom diffgraph.cli.main import app\ncode = 0\n"
        f"try:\n    app({list(words)!r})\nexcept SystemExit as stop:\n    code = stop.code or 0\n"
        f"import json; print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    return done.returncode, set(json.loads(done.stderr.strip().splitlines()[-1]))


@pytest.mark.parametrize("words", [("generate", "--help"), ("experts",), ("expert", "world/sea-life")])
def test_light_commands_load_no_model_library(environment: dict[str, str], words: tuple[str, ...]) -> None:
    code, loaded = run_and_list_modules(environment, *words)
    assert code == 0
    assert loaded == set()


def test_experts_prints_one_json_document(environment: dict[str, str]) -> None:
    done = diffgraph("experts", "--json")
    assert done.exit_code == 0
    found = {e["id"]: e for e in json.loads(done.stdout)["experts"]}
    assert set(found) == {"world/blueprint", "world/sea-life"}
    assert found["world/sea-life"]["verdict"] == "works"
    assert found["world/blueprint"]["verdict"] is None


def test_expert_shows_what_is_known(environment: dict[str, str]) -> None:
    done = diffgraph("expert", "world/sea-life")
    assert done.exit_code == 0
    assert "works; best weight 0.90" in done.stdout
    assert "octopus +0.75" in done.stdout
    data = json.loads(diffgraph("expert", "world/sea-life", "--json").stdout)
    assert data["expert"]["sha256"] == "73" * 32
    assert data["calibrations"][0]["gain"] == {"octopus": 0.75}


def test_an_unknown_expert_is_one_line_and_exit_code_2(environment: dict[str, str]) -> None:
    done = diffgraph("expert", "world/sea-live", "--json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Did you mean world/sea-life" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DIFFGRAPH_STEPS", "many", "DIFFGRAPH_STEPS='many' will not do"),
        ("DIFFGRAPH_HOME", "/dev/null/home", "DIFFGRAPH_HOME"),
    ],
)
def test_bad_settings_are_a_sentence(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    done = diffgraph("experts")
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_shipped_graph_is_taken_in_once(world: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_WORLD", str(world))
    with open_graph(Settings.load()) as store:
        assert len(store.experts()) == 2
        assert (home / "graph" / marker(profile_of(world))).is_file()
        assert take_in(store, profile_of(world)) == 0


def test_a_new_world_is_taken_in_again(world: Path, tmp_path: Path) -> None:
    other = tmp_path / "world"
    shutil.copytree(world, other)
    with GraphStore(tmp_path / "graph") as store:
        lines = take_in(store, profile_of(other))
        assert lines > 0
        (other / "CHANGED").write_text("a new version")
        sealed(other)
        assert take_in(store, profile_of(other)) == lines
        assert take_in(store, profile_of(other)) == 0


def test_a_damaged_export_is_refused(world: Path, tmp_path: Path) -> None:
    other = tmp_path / "world"
    shutil.copytree(world, other)
    with (other / "graph" / "graph.jsonl").open("a") as file:
        file.write("\n")
    with GraphStore(tmp_path / "graph") as store, pytest.raises(errors.BaseMissing, match="differs"):
        take_in(store, profile_of(other))


def test_doctor_finds_what_needs_mending(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_STPES", "9")
    done = diffgraph("doctor", "--json")
    assert done.exit_code == 1
    found = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
    assert "did you mean DIFFGRAPH_STEPS" in found["DIFFGRAPH_STPES"]["text"]
    assert found["home"]["ok"]
    assert found["graph"]["text"].startswith("2 experts, 1 calibrated")
    assert found["base"]["ok"]
    assert found["brain"]["ok"]
    assert "warning" not in found["critic"]["text"]


def test_doctor_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_CHECKPOINT_URL", "postgresql://me:hunter2@host/base")
    monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", "http://me:hunter2@host:8000/v1")
    monkeypatch.setenv("DIFFGRAPH_CRITIC_KEY", "hunter2")
    protocol.names()  # loads the critics' settings
    settings = Settings.load()
    rows = {variable: value for variable, value, _ in doctor.settings_rows(settings)}
    assert rows["DIFFGRAPH_CHECKPOINT_URL"] == "postgresql://…@host/base"
    assert rows["DIFFGRAPH_CRITIC_URL"] == "http://…@host:8000/v1"
    assert "hunter2" not in json.dumps([rows, doctor.as_json(settings, [])])


def test_doctor_tells_a_critic_that_is_not_for_the_base_and_a_brain_that_is_not_there(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-sd15").mkdir()
    (tmp_path / "my-sd15" / "model_index.json").write_text("{}")
    monkeypatch.setenv("DIFFGRAPH_BASE", str(tmp_path / "my-sd15"))
    monkeypatch.setenv("DIFFGRAPH_BRAIN", "nobody:some-model")
    found = {c["name"]: c for c in json.loads(diffgraph("doctor", "--json").stdout)["checks"]}
    assert found["critic"]["ok"]
    assert "none: images are drawn unjudged" in found["critic"]["text"]
    assert not found["brain"]["ok"]
    assert "offline, openai" in found["brain"]["text"]


def failing(error: BaseException) -> typer.Typer:
    """The command line with one command, which raises."""
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.callback()
    def main() -> None:
        pass

    @app.command()
    def fails() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Stopped. What was finished"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "The disk is full (/x)"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "Permission denied (/x)"),
        (errors.ExternalError("the hub is\n down"), 1, "the hub is down"),
        (errors.PlanError("keys [a] differ"), 1, "keys [a] differ"),
        (errors.UserError("mend it"), 2, "mend it"),
        (errors.BaseMissing("get it"), 2, "get it"),
    ],
)
def test_failures_have_a_sentence_and_a_code(error: BaseException, code: int, said: str) -> None:
    done = diffgraph("fails", app=failing(error))
    assert done.exit_code == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError(errno.EBADF, "a bug")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert diffgraph("fails", app=failing(error)).exception is error


def test_the_bench_knows_its_engines(environment: dict[str, str]) -> None:
    done = diffgraph("bench", "merge", "--small", "--engine", "a1111")
    assert done.exit_code == 2
    assert "no engine 'a1111'; the bench knows diffgraph" in done.stderr


def test_a_reader_who_leaves_is_no_error(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m diffgraph.cli.main experts --json | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.stderr == ""


def test_every_command_explains_itself() -> None:
    callbacks = [command.callback for command in app.registered_commands]
    names = {callback.__name__ for callback in callbacks if callback}
    assert {
        "generate",
        "plan",
        "chat",
        "scout",
        "calibrate",
        "experts",
        "expert",
        "doctor",
        "demo",
        "evaluate",
        "bench",
    } <= names
    for callback in callbacks:
        assert callback is not None
        assert callback.__doc__, f"{callback.__name__} has no help"
