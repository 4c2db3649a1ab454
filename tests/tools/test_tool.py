"""One file a tool: registration, validation, errors."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from diffgraph.errors import ToolRetry
from diffgraph.tools import tool as tool_module
from diffgraph.tools.activate_experts import ActivateArgs, activate_experts
from diffgraph.tools.as_langchain import bindable
from diffgraph.tools.context import Context, Job
from diffgraph.tools.results import Proposal
from diffgraph.tools.tool import Args, Result, call, get, tool, tools


class EchoArgs(Args):
    text: str = Field(min_length=1, max_length=10)


class Echo(Result):
    text: str


def test_the_tools_that_the_machine_needs_are_there() -> None:
    """More may be added; an agent's brain is never offered what others decide."""
    assert set(tools()) >= {
        "activate_experts",
        "ask_scout",
        "calibrate_expert",
        "check_plan",
        "give_verdict",
        "merge_and_sample",
        "propose_plan",
        "record_run",
        "register_experts",
        "score_images",
        "search_experts",
    }
    assert set(tools("critic")) >= {"give_verdict", "score_images"}
    assert set(tools("scout")) >= {"register_experts", "search_experts"}
    assert not {"propose_plan", "merge_and_sample", "record_run"} & {*tools("critic"), *tools("scout")}
    assert "give_verdict" not in tools("planner")


def test_a_new_tool_is_one_function(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_module._TOOLS, "_items", dict(tool_module._TOOLS.items()))

    @tool("echo", agents=("planner",))
    def echo(ctx: Context, args: EchoArgs) -> Echo:
        """Say it again."""
        return Echo(text=args.text)

    globals()["echo"] = echo
    assert call(ctx, "echo", {"text": " hi "}, "planner") == Echo(text="hi")
    with pytest.raises(ToolRetry, match="did you mean echo"):
        call(ctx, "ecko", {"text": "hi"}, "planner")
    with pytest.raises(ValueError, match="two tools"):
        tool("echo")(echo)


def test_malformed_tools_fail_when_they_register() -> None:
    def silent(ctx: Context, args: EchoArgs) -> Echo:
        return Echo(text="")

    def odd(ctx: Context, text: str) -> Echo:
        """Odd."""
        return Echo(text="")

    def loose(ctx: Context, args: EchoArgs) -> dict[str, Any]:
        """Loose."""
        return {}

    with pytest.raises(TypeError, match="docstring"):
        tool("silent_one")(silent)
    with pytest.raises(TypeError, match="must take"):
        tool("odd_one")(odd)
    with pytest.raises(TypeError, match="which model it returns"):
        tool("loose_one")(loose)  # type: ignore[type-var]
    assert "silent_one" not in tools()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("search_experts", {}, "query: Field required"),
        ("search_experts", {"query": None}, "query: Field required"),
        ("search_experts", {"query": "x", "k": 10**9}, "k: "),
        ("search_experts", {"query": "x", "facet": "smell"}, "facet: "),
        ("search_experts", {"query": ["x"]}, "query: "),
        ("search_experts", {"query": "x", "path": "/etc/passwd"}, "path: Extra inputs"),
        ("search_experts", {"query": "x" * 30_000}, "longer than"),
        ("give_verdict", {"decision": "maybe"}, "decision: "),
        ("ask_scout", {"skills": []}, "skills: "),
        ("record_run", {"run_id": "../x", "plan_id": "y", "score": 0.5, "accepted": True}, "run_id: "),
        ("record_run", {"run_id": "x", "plan_id": "y", "score": float("nan"), "accepted": True}, "score: "),
        ("check_plan", {"plan_id": "../../etc/passwd"}, "no plan id"),
        ("check_plan", {"plan_id": "0" * 64}, "there is no plan"),
        ("calibrate_expert", {"expert_id": "world/see-life"}, "world/sea-life"),
        ("propose_plan", {}, "activate_experts first"),
    ],
)
def test_hostile_arguments_come_back_as_sentences(
    ctx: Context, name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolRetry, match=message):
        call(ctx, name, arguments)


def test_an_agent_has_only_its_own_tools(ctx: Context) -> None:
    with pytest.raises(ToolRetry, match="there is no tool"):
        get("merge_and_sample", "planner")
    bound = {t.name: t for t in bindable(ctx, "planner")}
    assert set(bound) == set(tools("planner"))
    found = bound["search_experts"].invoke({"query": "octopus"})
    assert found["hits"][0]["expert"] == "world/sea-life"


def test_an_edited_plan_is_refused(ctx: Context) -> None:
    job = _job(ctx, "octopus")
    plan_id = propose(job, {}).plan_id
    path = ctx.plan_path(plan_id)
    path.write_text(path.read_text().replace('"octopus"', '"whale"'), encoding="utf-8")
    with pytest.raises(ToolRetry, match="edited"):
        ctx.load_plan(plan_id)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ToolRetry, match="damaged"):
        ctx.load_plan(plan_id)
    assert propose(job, {}).plan_id == plan_id  # proposing it again mends it
    assert ctx.load_plan(plan_id).prompt == "octopus"


def _job(ctx: Context, prompt: str) -> Context:
    activation = activate_experts(ctx, ActivateArgs(prompt=prompt))
    return ctx.with_job(Job(prompt=prompt, activation=activation))


def propose(job: Context, args: dict[str, Any]) -> Proposal:
    """A proposal as a brain makes it."""
    made = call(job, "propose_plan", args)
    assert isinstance(made, Proposal)
    return made


def test_a_proposal_is_validated_and_its_prompt_follows_the_experts(ctx: Context) -> None:
    job = _job(ctx, "octopus, blueprint style")
    default = propose(job, {})
    assert default.prompt == "octopus, blueprint style"
    assert propose(job, {}).plan_id == default.plan_id  # idempotent
    alone = propose(job, {"experts": [{"id": "world/sea-life", "weight": 0.7}]})
    assert (alone.prompt, alone.experts[0].weight) == ("octopus", 0.7)
    more = propose(job, {"experts": [{"id": "world/sea-life"}, {"id": "world/starry"}]})
    assert more.prompt == "octopus, starry night background"
    other = call(
        job, "propose_plan", {"experts": [{"id": "world/sea-life", "trigger": "whale"}, {"id": "world/blueprint"}]}
    )
    assert other.prompt == "whale, blueprint style"
    with pytest.raises(ToolRetry, match="twice"):
        propose(job, {"experts": [{"id": "world/sea-life"}, {"id": "world/sea-life"}]})
    with pytest.raises(ToolRetry, match="did you mean linear"):
        propose(job, {"method": "liner"})
    with pytest.raises(ToolRetry, match="bad parameters"):
        propose(job, {"method": "linear", "params": {"evil": 1}})


def test_an_expert_that_does_nothing_is_refused(ctx: Context, put_works: Any) -> None:
    starry = ctx.store.expert("world/starry")
    ctx.store.put_calibration(put_works(starry.id, starry.sha256, "does not do what the card says"))
    job = _job(ctx, "octopus")
    with pytest.raises(ToolRetry, match="does not do what the card says"):
        propose(job, {"experts": [{"id": "world/sea-life"}, {"id": "world/starry"}]})


def test_one_look_that_acts_unasked_can_go_unsaid(ctx: Context) -> None:
    """If asked for: the style first, never both, never the subject, and only where experts are composed."""
    prompt = "octopus, blueprint style, starry night background"
    unsaid = {"say": False}
    assert propose(_job(ctx, prompt), unsaid).prompt == prompt  # nothing is known of either
    for name, look in (("world/blueprint", "blueprint"), ("world/starry", "starry night"), ("world/sea-life", "whale")):
        (found,) = ctx.store.calibrations(name)
        ctx.store.put_calibration(found.model_copy(update={"unasked": {look: 0.95}}))
    job = _job(ctx, prompt)
    assert propose(job, {}).prompt == prompt
    assert propose(job, unsaid).prompt == "octopus, starry night background"
    pair = {"experts": [{"id": "world/sea-life", "weight": 0.7}, {"id": "world/starry"}]}
    assert propose(job, pair | unsaid).prompt == "octopus"
    alone = {"experts": [{"id": "world/blueprint"}]}
    assert propose(job, alone | unsaid).prompt == "blueprint style"
    (found,) = ctx.store.calibrations("world/blueprint")
    ctx.store.put_calibration(found.model_copy(update={"unasked": {"blueprint": 0.85}}))
    assert propose(job, unsaid).prompt == "octopus, blueprint style"


def test_a_weight_above_one_is_for_an_expert_alone(ctx: Context) -> None:
    """Calibrated at 1.25, an expert goes into company at 1, unless more is asked for."""
    for expert_id in ("world/sea-life", "world/blueprint"):
        (found,) = ctx.store.calibrations(expert_id)
        ctx.store.put_calibration(found.model_copy(update={"best_weight": 1.25}))

    def weights(args: dict[str, Any]) -> list[float]:
        return [e.weight for e in propose(_job(ctx, "octopus, blueprint style"), args).experts]

    assert weights({}) == [1.0, 1.0]
    assert weights({"experts": [{"id": "world/sea-life"}]}) == [1.25]
    asked = [{"id": "world/blueprint", "weight": 1.1}, {"id": "world/sea-life"}]
    assert weights({"experts": asked}) == [1.1, 1.0]


def test_guidance_follows_the_number_of_experts_unless_it_is_said(ctx: Context) -> None:
    job = _job(ctx, "octopus, blueprint style")
    assert propose(job, {}).guidance == 1.5
    assert propose(job, {"experts": [{"id": "world/sea-life"}]}).guidance == 1.0
    said = propose(job, {"guidance": 2.5})
    assert (said.guidance, ctx.load_plan(said.plan_id).sampler.guidance) == (2.5, 2.5)
    with pytest.raises(ToolRetry, match="guidance"):
        propose(job, {"guidance": -1})
