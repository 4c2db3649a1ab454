"""The state machine: one LangGraph graph, whatever the brain.

``build`` wires it; ``graph`` is the factory that langgraph.json names (as a module path,
``diffgraph.agents.machine:graph``: a file path would be loaded outside the package, where relative imports do not
work).
"""

from __future__ import annotations

import atexit
import functools
import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import BaseModel

from ..errors import BudgetExceeded, ExpertError, ExternalError, PlanError, ToolFailed, ToolRetry, UserError
from ..tools.check_plan import PlanArgs
from ..tools.context import Context
from ..tools.merge_and_sample import image_paths
from ..tools.results import ScoredImage
from ..tools.score_images import critic_id, score_images
from ..tools.tool import Agent as AgentName
from ..tools.tool import call, get
from . import answer, best_images
from .agent import job_of
from .brains.answers import MAX_CALLS
from .brains.brain import make
from .brains.messages import MAX_RESULT, Answer, Human, InvalidCall, ToolCall, ToolResult
from .calibrator import Calibrator
from .critic import Critic
from .drawing import Drawing
from .planner import Planner
from .runs import folder, page
from .runs.result import RunScores
from .scout import Scout
from .state import AnswerImage, Request, State, dumped


class Node(Protocol):
    """A step of the machine."""

    def __call__(self, state: State) -> Command[Any]: ...


class Machine:
    """The nodes that belong to no agent: begin, tools, record, finish."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def begin(self, state: State) -> Command[Literal["planner"]]:
        """Check the request and give it a folder. Raises UserError at once if the critic that is named cannot
        judge, or is not there.
        """
        if why := self.ctx.unjudged:
            self.ctx.say("unjudged", why)
        else:
            critic_id(self.ctx)  # its files are looked for before anything is drawn
        prompt = answer.checked_prompt(state.prompt)
        change = State(
            version=state.version, prompt=prompt, n=answer.checked_n(state.n), seed=answer.checked_seed(state.seed)
        )
        if not state.run_dir:
            change = change.changed(State(run_dir=str(folder.new(self.ctx.settings.root, prompt))))
        return Command(goto="planner", update=change)

    def tools(self, state: State) -> Command[Literal["planner", "scout", "critic"]]:
        """Run the tool calls of the last answer and give their results back to the agent.

        ToolRetry, ToolFailed and what a tool says of an expert, a plan or a hub go back as failed results, which the
        brain sees; UserError ends the request; anything else is a bug and stays one.

        LangGraph's ToolNode would run the calls of one answer side by side; here each sees what those before it found.
        """
        agent, answered = _agent(state.agent), state.messages[-1]
        assert isinstance(answered, Answer)
        results: list[ToolResult | Human] = []
        change = State()
        for bad in answered.invalid:
            self.ctx.say("tool failed", f"{bad.name}: {bad.error}", tool=bad.name, agent=agent)
            results.append(_refused(bad, bad.error))
        for wanted in answered.tool_calls:
            ctx = self.ctx.with_job(job_of(state.changed(change)))
            try:
                result = call(ctx, wanted.name, wanted.args, agent)
            except (ToolRetry, ToolFailed, BudgetExceeded, ExpertError, PlanError, ExternalError) as error:
                self.ctx.say("tool failed", f"{wanted.name}: {error}", tool=wanted.name, agent=agent)
                results.append(_refused(wanted, str(error)))
                continue
            self.ctx.say("tool", f"{wanted.name}", tool=wanted.name, agent=agent)
            field = get(wanted.name).writes
            if field:
                kept = (*state.changed(change).found, result) if field == "found" else result
                change = change.changed(State.model_validate({field: kept}))
            results.append(ToolResult(content=_shown(result), id=wanted.id, name=wanted.name))
        if answered.left_out:
            results.append(Human(content=f"Only the first {MAX_CALLS} calls were taken, {answered.left_out} were not."))
        steps = {**state.steps, agent: state.steps.get(agent, 0) + 1}
        return Command(goto=agent, update=change.changed(State(messages=(*state.messages, *results), steps=steps)))

    def record(self, state: State) -> Command[Literal["compare", "__end__"]]:
        """The best image of each slot is the answer: into the run folder, and into the graph's memory."""
        if not state.rounds:
            return self._unjudged(state)
        plan = self.ctx.load_plan(state.rounds[state.best].plan_id)
        ctx = self.ctx.with_job(job_of(state.changed(State(plan_id=plan.plan_id))))
        run_dir = Path(state.run_dir)
        images: list[str] = []
        answers: list[AnswerImage] = []
        for number, image in best_images.kept(state.rounds, state.n):
            plan_id = state.rounds[number].plan_id
            path, scored = self._answered(ctx, plan_id, image.seed)
            images.append(folder.put_image(run_dir, f"image_{image.seed}.png", path))
            answers.append(AnswerImage(**dict(scored), plan_id=plan_id, round=number + 1))
        scores = best_images.gathered(plan.plan_id, answers)
        accepted = state.rounds[-1].decision == "accept"
        change = answer.of_images(state, plan, images, scores, accept=self.ctx.settings.accept, accepted=accepted)
        folder.write_json(run_dir / "plan.json", plan.model_dump(mode="json"))
        written = RunScores(**dict(scores), rounds=state.rounds, best=state.best)
        folder.write_json(run_dir / "scores.json", written.model_dump(mode="json"))
        self.ctx.say("written", f"{answer.counted(images)} in {run_dir}", images=images)
        try:
            call(
                ctx,
                "record_run",
                {
                    "run_id": folder.run_id(run_dir, plan.plan_id),
                    "plan_id": plan.plan_id,
                    "score": scores.score,
                    "accepted": accepted,
                    "uncovered": list(change.uncovered[:50]),
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            )
        except (UserError, ToolRetry) as error:
            notes = state.changed(change).with_notes(f"The graph does not remember this run: {error}")
            change = change.changed(State(notes=notes))
        page.write(self.ctx, state.changed(change))
        return Command(goto="compare" if state.compare and plan.experts else "__end__", update=change)

    def _unjudged(self, state: State) -> Command[Literal["compare", "__end__"]]:
        """The images that were drawn are the answer, and nobody has judged them."""
        plan, run_dir = self.ctx.load_plan(state.plan_id), Path(state.run_dir)
        paths = image_paths(self.ctx, plan)
        if paths is None:
            raise PlanError(
                f"The images of plan {plan.plan_id[:12]} were removed while the run was at work. Run it again."
            )
        images = [
            folder.put_image(run_dir, f"image_{seed}.png", path) for seed, path in zip(plan.seeds, paths, strict=True)
        ]
        change = answer.of_unjudged(state, plan, images, self.ctx.unjudged or state.unjudged)
        folder.write_json(run_dir / "plan.json", plan.model_dump(mode="json"))
        self.ctx.say("written", f"{answer.counted(images)} in {run_dir}", images=images)
        page.write(self.ctx, state.changed(change))
        return Command(goto="compare" if state.compare and plan.experts else "__end__", update=change)

    def _answered(self, ctx: Context, plan_id: str, seed: int) -> tuple[Path, ScoredImage]:
        """A kept image's file and what the critic says of it. Raises PlanError if it is gone."""
        plan = ctx.load_plan(plan_id)
        paths = image_paths(ctx, plan)
        if paths is None:
            raise PlanError(f"The images of plan {plan_id[:12]} were removed while the run was at work. Run it again.")
        at = plan.seeds.index(seed)
        return paths[at], score_images(ctx, PlanArgs(plan_id=plan_id)).images[at]

    def finish(self, state: State) -> Command[Literal["__end__"]]:
        """No image: say why."""
        change = answer.without_image(state, self.ctx.settings.brain)
        self.ctx.say("finished", change.message)
        page.write(self.ctx, state.changed(change))
        return Command(goto="__end__", update=change)


def _agent(name: str) -> AgentName:
    agents: dict[str, AgentName] = {"planner": "planner", "scout": "scout", "critic": "critic"}
    return agents[name]


def _refused(call: ToolCall | InvalidCall, why: str) -> ToolResult:
    return ToolResult(content=why[:MAX_RESULT], id=call.id, name=call.name, failed=True)


def _shown(result: BaseModel) -> str:
    """A result as a brain reads it: JSON, its lists cut short where it is long, so that nobody reads half an object."""
    data = result.model_dump(mode="json")
    text = json.dumps(data, ensure_ascii=False, sort_keys=True)
    if len(text) <= MAX_RESULT:
        return text
    kept = {k: v[:8] if isinstance(v, list) else v for k, v in data.items()}
    return json.dumps({**kept, "shortened": True}, ensure_ascii=False, sort_keys=True)


def build(
    ctx: Context, checkpointer: BaseCheckpointSaver[Any] | None = None, brain: BaseChatModel | None = None
) -> CompiledStateGraph[State, None, Request, State]:
    """The compiled machine.

    Args:
        ctx: settings, graph, device.
        checkpointer: where to keep the state between steps; None keeps it nowhere.
        brain: the chat model behind planner, scout and critic; None takes the one that the settings name.
    """
    mind = brain if brain is not None else make(ctx.settings)
    machine, planner, drawing = Machine(ctx), Planner(ctx, mind), Drawing(ctx)
    made: StateGraph[State, None, Request, State] = StateGraph(State, input_schema=Request, output_schema=State)
    nodes: dict[str, Node] = {
        "begin": machine.begin,
        "planner": planner.planner,
        "tools": machine.tools,
        "check": planner.check,
        "merge": drawing.merge,
        "sample": drawing.sample,
        "critic": Critic(ctx, mind).critic,
        "scout": Scout(ctx, mind).scout,
        "calibrator": Calibrator(ctx).calibrator,
        "record": machine.record,
        "compare": drawing.compare,
        "finish": machine.finish,
    }
    for name, node in nodes.items():
        made.add_node(name, _step(ctx, name, node))
    made.add_edge(START, "begin")
    return made.compile(checkpointer=checkpointer, name="diffgraph")


def _step(ctx: Context, name: str, node: Node) -> Node:
    """The node, telling when it starts and how long it took. LangGraph hands it the state as a model, and gets what
    changes as plain JSON; the node's annotations stay, for LangGraph draws by them.
    """

    @functools.wraps(node)
    def run(state: State) -> Command[Any]:
        start = time.perf_counter()
        ctx.say("start", name, node=name)
        command = node(state)
        ctx.say("node", name, node=name, seconds=round(time.perf_counter() - start, 3), goto=str(command.goto))
        return Command(goto=command.goto, update=dumped(command.update)) if command.update else command

    return run


def steps_limit(ctx: Context) -> int:
    """A bound on LangGraph's own step counter that no run reaches whose agents keep to their budgets."""
    settings = ctx.settings
    return 6 * settings.step_budget + 12 * (settings.rounds + 1) + 60


def graph() -> CompiledStateGraph[State, None, Request, State]:
    """The machine for LangGraph's own server and Studio, which bring their own checkpoints. Open until the process
    ends.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return build(stack.enter_context(Context.open()))
