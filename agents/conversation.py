"""What planner, scout and critic have in common: a conversation with the brain, a step budget, a polite end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from langchain_core.language_models import BaseChatModel

from .. import prompts
from ..tools.as_langchain import bindable
from ..tools.context import Context, Job
from ..tools.tool import Agent as AgentName
from .best_images import open_slots
from .brains import messages as plain
from .brains.brain import ask
from .state import State

MAX_IDLE = 2
"""So often in a row a brain may answer without a tool call before the machine goes on without it."""
MAX_RESULT_CHARS = 12_000


def job_of(state: State) -> Job:
    """The request that tool calls belong to, from the state."""
    return Job(
        prompt=state["prompt"],
        n=state.get("n", 1),
        seed=state.get("seed", 0),
        activation=state.get("activation") or {},
        plan_id=state.get("plan_id", ""),
        scouted=state.get("scouted", False),
        slots=tuple(open_slots(state)),
    )


class Turn(ABC):
    """One agent. Subclasses say what the conversation starts with and where it leads."""

    name: AgentName

    def __init__(self, ctx: Context, brain: BaseChatModel) -> None:
        self.ctx, self.brain = ctx, brain

    def ctx_for(self, state: State) -> Context:
        return self.ctx.with_job(job_of(state))

    def budget_left(self, state: State) -> int:
        """Steps this agent may still take in this run."""
        return self.ctx.settings.step_budget - state.get("steps", {}).get(self.name, 0)

    def spent(self, state: State) -> bool:
        """Whether the machine must go on without this agent's brain."""
        return self.budget_left(state) <= 0 or (state.get("agent") == self.name and state.get("idle", 0) >= MAX_IDLE)

    def conversation(self, state: State) -> list[plain.Plain]:
        """The conversation so far, or its beginning if it is not this agent's."""
        if state.get("agent") == self.name and state.get("messages"):
            return list(state["messages"])
        return [plain.system(self.instructions(state)), plain.human(prompts.data("request", self.request(state)))]

    @abstractmethod
    def instructions(self, state: State) -> str:
        """The system prompt."""

    @abstractmethod
    def request(self, state: State) -> dict[str, Any]:
        """The data that the conversation starts with."""

    def think(self, state: State) -> State:
        """Let the brain answer; returns what changes in the state. ``idle`` is 0 if it made a tool call."""
        talk = self.conversation(state)
        answer = plain.ai(ask(self.brain, bindable(self.ctx, self.name), talk))
        called = [c["name"] for c in answer["tool_calls"] + answer["invalid"]]
        idle = 0 if called else (state.get("idle", 0) if state.get("agent") == self.name else 0) + 1
        said = f"{self.name} calls {', '.join(called)}" if called else f"{self.name}: {answer['content'][:300]}"
        self.ctx.say("brain", said, agent=self.name, calls=called)
        return {
            "agent": self.name,
            "messages": [*talk, answer],
            "steps": {**state.get("steps", {}), self.name: state.get("steps", {}).get(self.name, 0) + 1},
            "idle": idle,
        }

    def nudged(self, update: State, text: str) -> State:
        """The same change of state, with a reminder added to the conversation."""
        return {**update, "messages": [*update["messages"], plain.human(text)]}


def told(state: State, *sentences: str) -> list[str]:
    """The notes of the state with more sentences, none twice."""
    return list(dict.fromkeys([*state.get("notes", []), *(s for s in sentences if s)]))
