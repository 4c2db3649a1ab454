"""What planner, scout and critic have in common: a conversation with the brain, a step budget, a polite end."""

from __future__ import annotations

from abc import ABC, abstractmethod

from langchain_core.language_models import BaseChatModel

from .. import prompts
from ..errors import ExternalError
from ..tools.as_langchain import bindable
from ..tools.context import Context, Job
from ..tools.tool import Agent as AgentName
from .best_images import open_slots
from .brains.brain import ask
from .brains.failure import BrainFailed
from .brains.messages import Answer, Human, Message, System, bounded
from .brains.offline import OfflineBrain
from .requests import Turn
from .state import State

MAX_IDLE = 2
"""So often in a row a brain may answer without a tool call before the machine goes on without it."""
MAX_FAILURES = 2
"""After so many calls that failed, a run goes on by the offline brain."""


def job_of(state: State) -> Job:
    """The request that tool calls belong to, from the state."""
    return Job(
        prompt=state.prompt,
        n=state.n,
        seed=state.seed,
        activation=state.activation,
        plan_id=state.plan_id,
        scouted=state.scouted,
        slots=tuple(open_slots(state)),
        orders=state.orders,
        atoms=state.atoms,
        judged=bool(state.rounds) or state.scores is not None,
    )


class Agent(ABC):
    """One agent. Subclasses say what the conversation starts with and where it leads."""

    name: AgentName

    def __init__(self, ctx: Context, brain: BaseChatModel) -> None:
        self.ctx, self.brain = ctx, brain

    def ctx_for(self, state: State) -> Context:
        """The context, at work on the state's request."""
        return self.ctx.with_job(job_of(state))

    def budget_left(self, state: State) -> int:
        """Steps this agent may still take in this run."""
        return self.ctx.settings.step_budget - state.steps.get(self.name, 0)

    def spent(self, state: State) -> bool:
        """Whether the machine must go on without this agent's brain."""
        return self.budget_left(state) <= 0 or (state.agent == self.name and state.idle >= MAX_IDLE)

    def conversation(self, state: State) -> tuple[Message, ...]:
        """The conversation so far, or its beginning if it is not this agent's."""
        if state.agent == self.name and state.messages:
            return bounded(state.messages)
        turn = prompts.data("request", self.turn(state).to_json())
        return (System(content=self.instructions(state)), Human(content=turn))

    @abstractmethod
    def instructions(self, state: State) -> str:
        """The system prompt."""

    @abstractmethod
    def turn(self, state: State) -> Turn:
        """The data that the conversation starts with."""

    def think(self, state: State) -> State:
        """Let the brain answer; returns what changes in the state. ``idle`` is 0 if it made a tool call."""
        talk = self.conversation(state)
        answer, change = self._answer(state, talk)
        called = [*(c.name for c in answer.tool_calls), *(c.name for c in answer.invalid)]
        idle = 0 if called else (state.idle if state.agent == self.name else 0) + 1
        said = f"{self.name} calls {', '.join(called)}" if called else f"{self.name}: {answer.content[:300]}"
        self.ctx.say("brain", said, agent=self.name, calls=called)
        if answer.tokens is not None:
            change = change.changed(State(tokens=answer.tokens.plus(state.tokens)))
        return change.changed(
            State(
                agent=self.name,
                messages=(*talk, answer),
                steps={**state.steps, self.name: state.steps.get(self.name, 0) + 1},
                idle=idle,
            )
        )

    def _answer(self, state: State, talk: tuple[Message, ...]) -> tuple[Answer, State]:
        """The brain's answer, or the offline brain's where it fails, and what changes in the state by a failure."""
        tools = bindable(self.ctx, self.name)
        if state.failures < MAX_FAILURES:
            try:
                return ask(self.brain, tools, talk, self.ctx.settings.brain_timeout), State()
            except ExternalError as error:
                for_good = isinstance(error, BrainFailed) and error.for_good
                failures = MAX_FAILURES if for_good else state.failures + 1
                wait = f" Its server asks to wait {error.retry_after:g} s." if error.retry_after is not None else ""
                rest = "the rest of the run" if failures >= MAX_FAILURES else "this step"
                note = f"{error}{wait} The offline brain took {rest} of the {self.name}."
                self.ctx.say("brain failed", note, agent=self.name)
                change = State(failures=failures, notes=state.with_notes(note))
        else:
            change = State()
        return ask(OfflineBrain(), tools, talk, None), change

    def nudged(self, change: State, text: str) -> State:
        """The same change of state, with a reminder added to the conversation."""
        return change.changed(State(messages=(*change.messages, Human(content=text))))
