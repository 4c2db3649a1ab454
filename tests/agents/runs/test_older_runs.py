"""Run folders and checkpoints that an earlier version wrote are read; those of a later one are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffgraph.agents.runs import folder
from diffgraph.agents.runs.checkpoints import checkpointer
from diffgraph.agents.runs.generate import resume
from diffgraph.agents.runs.result import RunScores, read_request, read_result
from diffgraph.agents.state import VERSION, AnswerScores, State, dumped, loaded
from diffgraph.errors import UserError
from diffgraph.settings import Settings

OLD = Path(__file__).with_name("version1")
"""What version 1 wrote for "octopus, blueprint style": ``RUN`` stands for the run folder, ``HOME`` for the home."""


def _old(name: str, run_dir: Path) -> Any:
    text = (OLD / name).read_text(encoding="utf-8")
    return json.loads(text.replace("RUN", str(run_dir)).replace("HOME", str(run_dir.parents[1])))


def says_the_same(now: Any, then: Any) -> bool:
    """Whether what is read of an older version's data is what they said, and nothing is told beyond it."""
    if isinstance(then, dict) and isinstance(now, dict):
        beyond = [value for key, value in now.items() if key not in then]
        return not any(beyond) and all(key in now and says_the_same(now[key], then[key]) for key in then)
    if isinstance(then, list) and isinstance(now, list):
        return len(now) == len(then) and all(map(says_the_same, now, then))
    return bool(now == then)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture
def run_dir(settings: Settings) -> Path:
    """A run folder with version 1's request and trace."""
    path = settings.root / "runs" / "0001-octopus-blueprint-style"
    path.mkdir(parents=True)
    (path / folder.REQUEST).write_text(json.dumps(_old("run.json", path)))
    shutil.copy(OLD / "trace.jsonl", path / folder.TRACE)
    return path


def checkpoint(settings: Settings, run_dir: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Put one of version 1's checkpoints where the run's thread is looked for; returns its values."""
    old = _old(name, run_dir)
    old["checkpoint"]["channel_values"] |= changes
    thread = json.loads((run_dir / folder.REQUEST).read_text())["thread"]
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    with checkpointer(settings) as saver:
        saver.put(config, old["checkpoint"], old["metadata"], {})
    return dict(old["checkpoint"]["channel_values"])


def test_a_run_goes_on_from_an_older_checkpoint(settings: Settings, run_dir: Path) -> None:
    checkpoint(settings, run_dir, "planning.json")
    result = resume(run_dir, settings=settings)
    assert (result.status, len(result.images)) == ("accepted", 1)
    assert result.plan is not None
    assert [(e.id, e.weight) for e in result.plan.experts] == [("world/blueprint", 0.9), ("world/sea-life", 0.9)]
    activations = [e for e in result.trace if e.kind == "tool" and e.text == "activate_experts"]
    assert len(activations) == 1  # that of version 1


def test_a_run_that_had_ended_is_told_from_its_checkpoint(settings: Settings, run_dir: Path) -> None:
    checkpoint(settings, run_dir, "ended.json")
    result = resume(run_dir, settings=settings)
    said = _old("result.json", run_dir)
    told = result.to_json()
    for key in ("plan", "plan_id", "timings"):
        told.pop(key), said.pop(key)
    assert says_the_same(told, said)


def test_a_run_that_had_ended_is_told_from_its_folder(settings: Settings, run_dir: Path) -> None:
    said = _old("result.json", run_dir)
    (run_dir / folder.RESULT).write_text(json.dumps(said))
    result = resume(run_dir, settings=settings)
    assert says_the_same(result.to_json(), said)
    assert [e.kind for e in result.trace][:2] == ["start", "node"]
    assert result == read_result(run_dir)


def test_a_result_without_an_image_is_read_too(run_dir: Path) -> None:
    nothing = {"plan": None, "plan_id": None, "images": [], "scores": {}, "comparison": [], "rounds": []}
    said = _old("result.json", run_dir) | nothing | {"status": "no image"}
    (run_dir / folder.RESULT).write_text(json.dumps(said))
    result = read_result(run_dir)
    assert (result.scores, result.plan, result.status) == (None, None, "no image")
    assert result.to_json() == said


@pytest.mark.parametrize("name", ["planning.json", "judging.json", "ended.json"])
def test_older_states_mean_the_same(run_dir: Path, name: str) -> None:
    values = {k: v for k, v in _old(name, run_dir)["checkpoint"]["channel_values"].items() if ":" not in k}
    state = loaded(values)
    again = dumped(state)
    for key, value in values.items():
        if key == "messages":
            kept = [{k: v for k, v in m.items() if k in old} for m, old in zip(again[key], value, strict=True)]
            assert kept == value
        elif key == "activation" and value:
            assert {k: v for k, v in again[key].items() if k in value} == value
            # What a reading tells beyond that is told by an older one in no way.
            beyond = {k: v for k, v in again[key].items() if k not in value}
            assert beyond.pop("words", "") in ("", value["read"])
            assert beyond.pop("vocabulary", "") == "closed"
            assert not any(v for k, v in beyond.items() if k != "orders"), beyond
            assert not any((beyond.get("orders") or {}).values()), beyond
        else:
            assert says_the_same(again[key], None if value == {} and key != "steps" else value), key
    assert loaded(again) == state


def test_the_scores_of_a_run_are_read(run_dir: Path) -> None:
    said = _old("scores.json", run_dir)
    scores = RunScores.model_validate(said)
    assert says_the_same(scores.model_dump(mode="json"), said)
    assert isinstance(scores, AnswerScores)


def test_a_later_version_is_refused(settings: Settings, run_dir: Path) -> None:
    checkpoint(settings, run_dir, "planning.json", version=VERSION + 1)
    with pytest.raises(UserError, match="later version"):
        resume(run_dir, settings=settings)
    asked = _old("run.json", run_dir) | {"version": VERSION + 1, "novelty": True}
    (run_dir / folder.REQUEST).write_text(json.dumps(asked))
    with pytest.raises(UserError, match="later version"):
        resume(run_dir, settings=settings)
    (run_dir / folder.RESULT).write_text(json.dumps({"version": VERSION + 1}))
    with pytest.raises(UserError, match="later version"):
        read_result(run_dir)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rounds", [{"plan_id": 7}]), ("messages", [{"role": "ghost"}]), ("activation", [1]), ("n", "x")],
)
def test_what_no_version_wrote_is_a_sentence(settings: Settings, run_dir: Path, field: str, value: Any) -> None:
    checkpoint(settings, run_dir, "planning.json", **{field: value})
    with pytest.raises(UserError, match=f"cannot be read .{field}"):
        resume(run_dir, settings=settings)


def test_a_damaged_folder_is_a_sentence(run_dir: Path) -> None:
    (run_dir / folder.RESULT).write_text('{"status": "fine"}')
    with pytest.raises(UserError, match="damaged"):
        read_result(run_dir)
    (run_dir / folder.REQUEST).write_text('{"thread": 7}')
    with pytest.raises(UserError, match="damaged"):
        read_request(run_dir)


def test_the_version_is_in_every_checkpoint(settings: Settings, run_dir: Path) -> None:
    checkpoint(settings, run_dir, "planning.json")
    resume(run_dir, settings=settings)
    assert State().version == VERSION
    from diffgraph.agents.runs.generate import generate

    result = generate("pizza", settings=settings, compare=False)
    request = read_request(result.run_dir)
    assert request.version == VERSION
    thread: Any = {"configurable": {"thread_id": request.thread}}
    with checkpointer(settings) as saver:
        states = [c.checkpoint["channel_values"] for c in saver.list(thread)]
    assert [s["version"] for s in states if "branch:to:begin" not in s and "__start__" not in s] == [VERSION] * (
        len(states) - 2
    )
