"""A brain may split the request, on an open base, once, and in the user's own words only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diffgraph.agents.agent import job_of
from diffgraph.agents.brains.messages import Answer, ToolCall
from diffgraph.agents.machine import Machine
from diffgraph.agents.state import State
from diffgraph.errors import ToolFailed
from diffgraph.scoring.request import WHOLE, Wanted
from diffgraph.settings import Settings
from diffgraph.tools.activate_experts import ActivateArgs, activate_experts
from diffgraph.tools.as_langchain import bindable
from diffgraph.tools.context import Context, Job
from diffgraph.tools.results import ActivationResult, Atoms
from diffgraph.tools.score_images import wanted_by, wanted_of
from diffgraph.tools.tool import call

WORDS = "three red cats on a sofa, no dogs"


@pytest.fixture
def mine(pico: Callable[[str], Any], home: Path) -> Iterator[Context]:
    with Context.open(Settings(base=str(pico("sd15").base), home=home, steps=2, device="cpu")) as ctx:
        yield ctx


def _read(ctx: Context, words: str) -> ActivationResult:
    return activate_experts(ctx.with_job(Job(prompt=words)), ActivateArgs(prompt="a paraphrase with an octopus"))


def _said(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"atoms": [{"facet": facet, "text": text} for facet, text in pairs]}


def test_it_is_offered_where_the_words_are_open(mine: Context, ctx: Context) -> None:
    assert "split_request" in {tool.name for tool in bindable(mine, "critic")}
    assert "split_request" not in {tool.name for tool in bindable(ctx, "critic")}


def test_the_rule_reads_what_was_typed_whatever_a_brain_makes_of_it(mine: Context) -> None:
    found = [(w.facet, w.text) for w in wanted_of(_read(mine, WORDS))]
    assert found == [
        ("subject", "cat"), ("count", "three cats"), ("attribute", "red cat"), ("relation", "cat on a sofa"),
        ("subject", "sofa"),
    ]  # fmt: skip
    german = wanted_of(_read(mine, "eine rote Katze auf einem Sofa"))
    assert german[-1] == Wanted(facet=WHOLE, text="eine rote Katze auf einem Sofa")


def test_a_brain_splits_it_in_the_users_words_once(mine: Context) -> None:
    job = Job(prompt=WORDS, activation=_read(mine, WORDS))
    asked = mine.with_job(job)
    done = call(asked, "split_request", _said(("count", "three red cats"), ("subject", "octopus")), "critic")
    assert isinstance(done, Atoms)
    assert [(w.facet, w.text) for w in done.atoms] == [
        ("count", "three red cats"), (WHOLE, "three red cats on a sofa")
    ]  # fmt: skip
    with pytest.raises(ToolFailed, match="shares a word"):
        call(asked, "split_request", _said(("subject", "octopus")), "critic")
    for later in (Job(prompt=WORDS, activation=job.activation, judged=True), Job(prompt=WORDS, atoms=done)):
        with pytest.raises(ToolFailed, match="split already"):
            call(mine.with_job(later), "split_request", _said(("count", "three cats")), "critic")


def test_what_a_brain_split_is_what_the_critic_is_asked(mine: Context) -> None:
    wanted = _said(("count", "three red cats"), ("relation", "cats on a sofa"))
    state = State(
        prompt=WORDS,
        agent="critic",
        activation=_read(mine, WORDS),
        messages=(Answer(tool_calls=(ToolCall(name="split_request", args=wanted, id="1"),)),),
    )
    step = Machine(mine).tools(state)
    assert step.goto == "critic"
    assert isinstance(step.update, State)
    assert [w.text for w in wanted_by(job_of(state.changed(step.update)))] == ["three red cats", "cats on a sofa"]
