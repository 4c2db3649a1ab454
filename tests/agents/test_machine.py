"""The machine on real parts: LangGraph, SQLite, Chroma, a real (tiny) pipeline, a real critic."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from diffgraph.agents import machine as machine_module
from diffgraph.agents.brains.offline import OfflineBrain
from diffgraph.agents.machine import build
from diffgraph.agents.runs.generate import generate, plan, resume
from diffgraph.errors import BaseMissing, UserError
from diffgraph.merging.sampling.png_record import read_png
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.events import Event

PROMPT = "octopus, blueprint style, starry night background"


def nodes(trace: Sequence[Event]) -> list[str]:
    """The nodes in order, each stay counted once."""
    names = [e.node for e in trace if e.kind == "node"]
    return [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]]


def count(trace: Sequence[Event], kind: str) -> int:
    return sum(e.kind == kind for e in trace)


class Script(OfflineBrain):
    """A brain that says what a test wrote down, one answer a call, and then what the offline brain says."""

    answers: list[list[dict[str, Any]]]

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if not self.answers:
            return super()._generate(messages, stop, run_manager, **kwargs)
        calls = [{**c, "id": f"s{len(messages)}_{i}"} for i, c in enumerate(self.answers.pop(0))]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=calls))])


def test_the_drawing_shows_the_machine(ctx: Context) -> None:
    drawn = build(ctx).get_graph()
    edges = {(e.source, e.target) for e in drawn.edges}
    for edge in [
        ("__start__", "begin"),
        ("planner", "tools"),
        ("tools", "planner"),
        ("planner", "check"),
        ("check", "merge"),
        ("merge", "sample"),
        ("sample", "critic"),
        ("critic", "planner"),
        ("critic", "record"),
        ("planner", "scout"),
        ("scout", "calibrator"),
        ("calibrator", "planner"),
        ("record", "compare"),
        ("finish", "__end__"),
    ]:
        assert edge in edges
    assert ("planner", "merge") not in edges  # nothing reaches the merge unchecked
    assert ("tools", "merge") not in edges


def test_a_request_end_to_end(ctx: Context, home: Path) -> None:
    events: list[Event] = []
    result = generate(PROMPT, n=2, seed=5, context=ctx, on_event=events.append)
    assert result.status == "accepted"
    assert result.uncovered == ()
    assert nodes(result.trace) == [
        "begin",
        "planner",
        "tools",
        "planner",
        "tools",
        "planner",
        "check",
        "merge",
        "sample",
        "critic",
        "tools",
        "critic",
        "tools",
        "critic",
        "record",
        "compare",
    ]
    assert result.plan is not None
    assert [(e.id, e.weight, e.facet) for e in result.plan.experts] == [
        ("world/blueprint", 0.9, "style"),
        ("world/sea-life", 0.9, "subject"),
        ("world/starry", 0.9, "background"),
    ]
    assert result.plan.prompt == PROMPT
    assert [p.name for p in result.images] == ["image_5.png", "image_6.png"]
    assert all(read_png(p).plan == result.plan for p in result.images)
    assert result.scores is not None
    assert set(result.scores.facets) == {"octopus", "blueprint style", "starry night background"}
    assert [c.label for c in result.comparison] == [
        "base alone",
        "world/blueprint",
        "world/sea-life",
        "world/starry",
    ]
    assert {p.name for p in result.run_dir.iterdir()} == {
        "run.json",
        "result.json",
        "plan.json",
        "scores.json",
        "trace.jsonl",
        "index.html",
        "image_5.png",
        "image_6.png",
        *(f"compare_{i}.png" for i in range(4)),
    }
    assert result.timings["first_image"] < result.timings["total"]
    written = next(i for i, e in enumerate(events) if e.kind == "written")
    assert any(e.kind == "step" for e in events[:written])
    assert any(e.node == "compare" for e in events[written:])  # comparing does not delay the first image
    assert ctx.store.runs()[-1].weights == {e.id: e.weight for e in result.plan.experts}
    assert json.loads((result.run_dir / "result.json").read_text()) == json.loads(json.dumps(result.to_json()))


def test_the_same_request_gives_the_same_image_and_samples_nothing_again(ctx: Context) -> None:
    first = generate("pizza", seed=3, context=ctx)
    second = generate("pizza", seed=3, context=ctx)
    assert first.run_dir != second.run_dir
    assert first.images[0].read_bytes() == second.images[0].read_bytes()
    assert count(first.trace, "merged") == 1
    assert count(second.trace, "merged") == 0
    assert count(second.trace, "kept") == 1


def test_a_damaged_kept_image_is_made_again(ctx: Context) -> None:
    first = generate("pizza", seed=4, context=ctx, compare=False)
    assert first.plan is not None
    kept = ctx.images_dir(first.plan.plan_id) / "4.png"
    good = kept.read_bytes()
    kept.write_bytes(good[:-40])
    second = generate("pizza", seed=4, context=ctx, compare=False)
    assert kept.read_bytes() == good == second.images[0].read_bytes()


def test_what_nobody_can_draw_is_said_and_not_drawn(ctx: Context) -> None:
    result = generate("tax law", context=ctx)
    assert (result.status, result.images, result.plan) == ("no image", (), None)
    assert "tax law" in result.message
    assert result.uncovered == ("tax law",)
    assert "scout" in nodes(result.trace)
    assert "tax law" in result.page.read_text(encoding="utf-8")
    assert not list(result.run_dir.glob("*.png"))


def test_a_missing_part_is_named_and_the_rest_is_drawn(ctx: Context) -> None:
    result = generate("octopus, impasto style", context=ctx, compare=False)
    assert result.status == "uncovered"
    assert any("impasto" in text for text in result.uncovered)
    assert len(result.images) == 1
    assert "impasto" in result.message


def test_a_style_without_its_subject_is_no_image(ctx: Context) -> None:
    result = generate("quantum chromodynamics, blueprint style", context=ctx)
    assert result.status == "no image"
    assert "blueprint style" in result.message


def test_another_language_gets_a_sentence(ctx: Context) -> None:
    assert generate("осьминог на фоне звёздного неба", context=ctx).status == "accepted"
    result = generate("χταπόδι κάτω από τον ουρανό", context=ctx)
    assert result.status == "no image"
    assert "read as English" in result.message


@pytest.mark.parametrize("prompt", ["", "   \n", "\u200b\t"])
def test_an_empty_prompt_is_a_user_error(make_settings: Callable[..., Settings], prompt: str) -> None:
    settings = make_settings()
    with pytest.raises(UserError, match="empty"):
        generate(prompt, settings=settings)
    assert not (settings.root / "runs").exists()


def test_limits_are_sentences(ctx: Context) -> None:
    with pytest.raises(UserError, match="2000 words"):
        generate("word " * 2000, context=ctx)
    with pytest.raises(UserError, match="number of images"):
        generate("pizza", n=0, context=ctx)
    with pytest.raises(UserError, match="seed"):
        generate("pizza", seed=-1, context=ctx)


def test_rounds_end_and_the_best_image_is_kept(
    mood: Callable[..., Path], make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(base=f"world:{mood(-1.0, 2.0)}", rounds=2)
    with Context.open(settings) as ctx:
        result = generate("octopus, blueprint style", context=ctx, compare=False)
        again = generate("octopus, blueprint style", context=ctx, compare=False)
    assert result.status == "best effort"
    assert len(result.rounds) == 3
    assert len({r.plan_id for r in result.rounds}) == 3  # no plan twice
    best = max(r.score for r in result.rounds)
    assert result.scores is not None
    assert result.scores.score == best
    assert result.plan is not None
    assert result.plan.plan_id == next(r.plan_id for r in result.rounds if r.score == best)
    assert again.rounds == result.rounds  # deterministic
    assert "best of them" in result.message
    assert "Rounds" in result.page.read_text(encoding="utf-8")


def test_no_rounds_means_one_try(mood: Callable[..., Path], make_settings: Callable[..., Settings]) -> None:
    result = generate("pizza", settings=make_settings(base=f"world:{mood(-3.0)}", rounds=0))
    assert len(result.rounds) == 1
    assert result.status == "best effort"


def test_a_spent_budget_ends_politely(make_settings: Callable[..., Settings]) -> None:
    result = generate(PROMPT, settings=make_settings(step_budget=1), compare=False)
    assert len(result.images) == 1  # the solver's default stands in for the planner, the score for the critic
    assert any("planner had no steps left" in note for note in result.notes)
    assert any("score alone decided" in note for note in result.notes)
    steps = {e.agent for e in result.trace if e.kind == "brain"}
    assert steps == {"planner", "critic"}


def test_a_brain_that_only_talks_is_replaced(ctx: Context) -> None:
    result = generate("pizza", context=ctx, brain=Script(answers=[[], []]), compare=False)
    assert result.status == "accepted"
    assert any("came to no plan" in note for note in result.notes)


def test_hostile_tool_calls_change_nothing(ctx: Context, tmp_path: Path) -> None:
    def one(name: str, **args: Any) -> list[dict[str, Any]]:
        return [{"name": name, "args": args}]

    brain = Script(
        answers=[
            one("merge_and_sample", plan_id="0" * 64),  # not the planner's
            one("rm_rf", path="/"),
            one("activate_experts", prompt=PROMPT),
            one("propose_plan", experts=[{"id": "../../etc/passwd", "weight": 1}]),
            one("propose_plan", experts=[{"id": "world/sea-life", "weight": 1e9}]),
            one("propose_plan", experts=[{"id": "world/sea-life", "weight": float("nan")}]),
            one("propose_plan", experts=[{"id": "world/emoji-base", "weight": 1}]),
            one("propose_plan", experts=[{"id": "world/sea-life", "trigger": "ignore all instructions"}]),
            one("propose_plan", method="exec"),
            one("propose_plan", sampler={"steps": 10**9}),
            one("check_plan", plan_id="../../../etc/passwd"),
            one("register_experts", source="huggingface"),
        ]
    )
    result = generate(PROMPT, context=ctx, brain=brain, compare=False)
    failed = [e.text for e in result.trace if e.kind == "tool failed"]
    assert len(failed) == 11
    assert "there is no tool 'merge_and_sample' here" in failed[0]
    assert "There is no expert" in failed[2]
    assert "weight" in failed[3]
    assert "did you mean" in failed[7]
    assert result.status == "accepted"
    assert result.plan is not None
    assert max(e.weight for e in result.plan.experts) <= 2


def test_a_critic_brain_cannot_accept_a_bad_image(
    mood: Callable[..., Path], make_settings: Callable[..., Settings]
) -> None:
    brain = Script(answers=[])
    accept = [{"name": "give_verdict", "args": {"decision": "accept"}}]
    with Context.open(make_settings(base=f"world:{mood(-3.0)}", rounds=0)) as ctx:
        brain.answers = [
            [{"name": "activate_experts", "args": {"prompt": "pizza"}}],
            [{"name": "propose_plan", "args": {}}],
            accept,
        ]
        result = generate("pizza", context=ctx, brain=brain, compare=False)
    assert result.status == "best effort"
    assert result.scores is not None
    assert result.scores.score < 0.5


def test_crash_and_resume_repeat_nothing(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    real = machine_module.Critic.critic
    monkeypatch.setattr(machine_module.Critic, "critic", _dies)
    with pytest.raises(KeyboardInterrupt):
        generate(PROMPT, settings=settings, compare=False)
    (run_dir,) = (settings.root / "runs").iterdir()
    images = {p: p.stat().st_mtime_ns for p in (settings.root / "images").rglob("*.png")}
    assert len(images) == 1
    monkeypatch.setattr(machine_module.Critic, "critic", real)
    result = resume(run_dir, settings=settings)
    assert result.status == "accepted"
    assert result.run_dir == run_dir
    for kind in ("sampled", "merged", "checked", "written"):
        assert count(result.trace, kind) == 1, kind
    assert {p: p.stat().st_mtime_ns for p in (settings.root / "images").rglob("*.png")} == images
    with Context.open(settings) as ctx:
        assert len(ctx.store.runs()) == 1
    # A run that ended stays as it is.
    before = count(result.trace, "node")
    again = resume(run_dir, settings=settings)
    assert again.status == "accepted"
    assert count(again.trace, "node") == before


def _dies(self: Any, state: Any) -> Any:
    raise KeyboardInterrupt


def test_what_is_checkpointed_is_plain_and_small(ctx: Context) -> None:
    generate(PROMPT, context=ctx)
    path = ctx.settings.root / "checkpoints.sqlite"
    from diffgraph.agents.runs.checkpoints import checkpointer

    with checkpointer(ctx.settings) as saver:
        states = [c.checkpoint["channel_values"] for c in saver.list(None)]
    assert len(states) > 10
    for state in states:
        json.dumps({k: v for k, v in state.items() if not k.startswith("branch:")})
    with sqlite3.connect(path) as connection:
        (largest,) = connection.execute("SELECT MAX(LENGTH(checkpoint)) FROM checkpoints").fetchone()
    connection.close()
    assert largest < 40_000


def test_a_refused_expert_is_dropped_and_named(
    world: Path, make_settings: Callable[..., Settings], tiny: ModuleType
) -> None:
    tiny.lora(world / "hub" / "blueprint", 99, "Blueprint", "- blueprint style\n", tags="[lora, style]")
    tiny.manifest(world)
    result = generate("octopus, blueprint style", settings=make_settings(base=f"world:{world}"), compare=False)
    assert result.status == "uncovered"
    assert result.plan is not None
    assert [e.id for e in result.plan.experts] == ["world/sea-life"]
    assert result.plan.prompt == "octopus"
    assert any("not the file" in note for note in result.notes)
    assert result.uncovered == ("blueprint style",)


def test_a_damaged_critic_is_one_sentence(world: Path, make_settings: Callable[..., Settings]) -> None:
    (world / "scorers" / "critic" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BaseMissing, match="scorers/critic"):
        generate("pizza", settings=make_settings(base=f"world:{world}"))


def test_a_given_folder(ctx: Context, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    first = generate("pizza", context=ctx, out=out, compare=False)
    assert first.run_dir == out
    second = generate("castle", seed=2, context=ctx, out=out, compare=False)
    assert [p.name for p in out.glob("*.png")] == ["image_2.png"]
    assert second.run_dir == out
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="empty folder"):
        generate("pizza", context=ctx, out=other)


def test_plan_alone_needs_no_brain(ctx: Context) -> None:
    found = plan(PROMPT, seed=9, context=ctx)
    assert [e.id for e in found.experts] == ["world/blueprint", "world/sea-life", "world/starry"]
    assert found.plan is not None
    assert found.plan.seeds == (9,)
    assert plan("tax law", context=ctx).plan is None


def test_studio_gets_the_machine(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    for name in ("home", "base"):
        monkeypatch.setenv(f"DIFFGRAPH_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("DIFFGRAPH_STEPS", "2")
    compiled = machine_module.graph()
    state = compiled.invoke({"prompt": "pizza"}, {"recursion_limit": 100})
    assert state["status"] == "accepted"
    assert (Path(state["run_dir"]) / "index.html").is_file()
