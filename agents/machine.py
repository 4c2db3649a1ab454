"""The state machine: one LangGraph graph, whatever the brain (DESIGN.md 3).

``build`` wires it; ``graph`` is the factory that langgraph.json names (as a module path,
``diffgraph.agents.machine:graph``: a file path would be loaded outside the package, where relative imports do not
work).
"""

from __future__ import annotations

import atexit
import functools
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

from ..errors import BudgetExceeded, ExpertError, ExternalError, PlanError, ToolFailed, ToolRetry, UserError
from ..tools.context import Context
from ..tools.merge_and_sample import image_paths
from ..tools.tool import Agent as AgentName
from ..tools.tool import call, get
from . import answer, best_images
from .brains import messages as plain
from .brains.brain import make
from .calibrator import Calibrator
from .conversation import MAX_RESULT_CHARS, job_of, told
from .critic import Critic
from .planner import Planner
from .runs import folder, page
from .scout import Scout
from .state import Request, State
from .worker import Worker


class Node(Protocol):
    """A step of the machine."""

    def __call__(self, state: State) -> Command[Any]: ...


class Machine:
    """The nodes that belong to no agent: begin, tools, record, finish."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def begin(self, state: State) -> Command[Literal["planner"]]:
        """Check the request and give it a folder."""
        prompt = answer.checked_prompt(state.get("prompt"))
        update: State = {
            "prompt": prompt,
            "n": answer.checked_n(state.get("n", 1)),
            "seed": answer.checked_seed(state.get("seed", 0)),
        }
        if not state.get("run_dir"):
            update["run_dir"] = str(folder.new(self.ctx.settings.root, prompt))
        return Command(goto="planner", update=update)

    def tools(self, state: State) -> Command[Literal["planner", "scout", "critic"]]:
        """Run the tool calls of the last answer and give their results back to the agent.

        ToolRetry, ToolFailed and what a tool says of an expert, a plan or a hub go back as failed results, which the
        brain sees; UserError ends the request; anything else is a bug and stays one.
        """
        agent = _agent(state["agent"])
        answered = state["messages"][-1]
        update: dict[str, Any] = {}
        results = []
        for bad in answered["invalid"]:
            results.append(plain.result(bad, f"the arguments are not valid JSON: {bad['error']}", failed=True))
        for wanted in answered["tool_calls"]:
            ctx = self.ctx.with_job(job_of({**state, **update}))  # type: ignore[typeddict-item]
            try:
                result = call(ctx, wanted["name"], wanted["args"], agent)
            except (ToolRetry, ToolFailed, BudgetExceeded, ExpertError, PlanError, ExternalError) as error:
                self.ctx.say("tool failed", f"{wanted['name']}: {error}", tool=wanted["name"], agent=agent)
                results.append(plain.result(wanted, str(error)[:MAX_RESULT_CHARS], failed=True))
                continue
            self.ctx.say("tool", f"{wanted['name']}", tool=wanted["name"], agent=agent)
            field = get(wanted["name"]).writes
            if field == "found":
                update["found"] = [*update.get("found", state.get("found", [])), result]
            elif field:
                update[field] = result
            results.append(plain.result(wanted, _short(result)))
        steps = {**state.get("steps", {}), agent: state.get("steps", {}).get(agent, 0) + 1}
        return Command(goto=agent, update={**update, "messages": [*state["messages"], *results], "steps": steps})

    def record(self, state: State) -> Command[Literal["compare", "__end__"]]:
        """The best image of each slot is the answer: into the run folder, and into the graph's memory."""
        plan = self.ctx.load_plan(state["rounds"][state.get("best", 0)]["plan_id"])
        ctx = self.ctx.with_job(job_of({**state, "plan_id": plan.plan_id}))
        run_dir = Path(state["run_dir"])
        images, told_of = [], []
        for number, image in best_images.kept(state["rounds"], state.get("n", 1)):
            path, scored = self._answered(ctx, state["rounds"][number]["plan_id"], image["seed"])
            images.append(folder.put_image(run_dir, f"image_{image['seed']}.png", path))
            told_of.append({**scored, "plan_id": state["rounds"][number]["plan_id"], "round": number + 1})
        scores = best_images.gathered(plan.plan_id, told_of)
        accepted = state["rounds"][-1]["decision"] == "accept"
        update = answer.of_images(state, plan, images, scores, accepted=accepted)
        folder.write_json(run_dir / "plan.json", plan.model_dump(mode="json"))
        folder.write_json(run_dir / "scores.json", {**scores, "rounds": state["rounds"], "best": state.get("best", 0)})
        self.ctx.say("written", f"{answer.counted(images)} in {run_dir}", images=images)
        try:
            call(
                ctx,
                "record_run",
                {
                    "run_id": run_dir.name if run_dir.parent.name == "runs" else f"{run_dir.name}-{plan.plan_id[:12]}",
                    "plan_id": plan.plan_id,
                    "score": scores["score"],
                    "accepted": accepted,
                    "uncovered": update["uncovered"][:50],
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            )
        except (UserError, ToolRetry) as error:
            update["notes"] = told(state, f"The graph does not remember this run: {error}")
        page.write(self.ctx, {**state, **update})
        compare = state.get("compare", True) and plan.experts
        return Command(goto="compare" if compare else "__end__", update=update)

    def _answered(self, ctx: Context, plan_id: str, seed: int) -> tuple[Path, dict[str, Any]]:
        """A kept image's file and what the critic says of it. Raises PlanError if it is gone."""
        plan = ctx.load_plan(plan_id)
        paths = image_paths(ctx, plan)
        if paths is None:
            raise PlanError(f"The images of plan {plan_id[:12]} were removed while the run was at work. Run it again.")
        scores = call(ctx, "score_images", {"plan_id": plan_id})
        at = plan.seeds.index(seed)
        return paths[at], scores["images"][at]

    def finish(self, state: State) -> Command[Literal["__end__"]]:
        """No image: say why."""
        update = answer.without_image(state, self.ctx.settings.brain)
        self.ctx.say("finished", update["message"])
        page.write(self.ctx, {**state, **update})
        return Command(goto="__end__", update=update)


def _agent(name: str) -> AgentName:
    agents: dict[str, AgentName] = {"planner": "planner", "scout": "scout", "critic": "critic"}
    return agents[name]


def _short(result: dict[str, Any]) -> str:
    text = str(plain.result({"id": "", "name": ""}, result)["content"])
    if len(text) <= MAX_RESULT_CHARS:
        return text
    # Cut as JSON, so that whoever reads it need not read half an object.
    kept = {k: v[:8] if isinstance(v, list) else v for k, v in result.items()}
    return str(plain.result({"id": "", "name": ""}, {**kept, "shortened": True})["content"])


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
    machine, planner, worker = Machine(ctx), Planner(ctx, mind), Worker(ctx)
    made: StateGraph[State, None, Request, State] = StateGraph(State, input_schema=Request, output_schema=State)
    nodes: dict[str, Node] = {
        "begin": machine.begin,
        "planner": planner.planner,
        "tools": machine.tools,
        "check": planner.check,
        "merge": worker.merge,
        "sample": worker.sample,
        "critic": Critic(ctx, mind).critic,
        "scout": Scout(ctx, mind).scout,
        "calibrator": Calibrator(ctx).calibrator,
        "record": machine.record,
        "compare": worker.compare,
        "finish": machine.finish,
    }
    for name, node in nodes.items():
        made.add_node(name, _timed(ctx, name, node))
    made.add_edge(START, "begin")
    return made.compile(checkpointer=checkpointer, name="diffgraph")


def _timed(ctx: Context, name: str, node: Node) -> Node:
    """The node, telling when it starts and how long it took; its annotations stay, for LangGraph draws by them."""

    @functools.wraps(node)
    def run(state: State) -> Command[Any]:
        start = time.perf_counter()
        ctx.say("start", name, node=name)
        command = node(state)
        ctx.say("node", name, node=name, seconds=round(time.perf_counter() - start, 3), goto=str(command.goto))
        return command

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
