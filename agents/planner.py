"""The planner: prompt -> activation -> proposed plan, by way of its brain; and what happens when the brain fails to
deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langgraph.types import Command

from .. import prompts
from ..errors import DiffGraphError, ToolFailed, ToolRetry
from ..tools.activate_experts import ActivateArgs, activate_experts
from ..tools.check_plan import PlanArgs, check_plan
from ..tools.propose_plan import method_names, propose_plan
from . import best_images
from .agent import Agent
from .brains.messages import Human
from .brains.offline import revise
from .requests import PlannerTurn
from .state import Problem, State


class Planner(Agent):
    """Node ``planner`` and node ``check``."""

    name = "planner"

    def instructions(self, state: State) -> str:
        return prompts.load("planner", family=self.ctx.family, budget=str(self.budget_left(state)))

    def turn(self, state: State) -> PlannerTurn:
        turn = PlannerTurn(
            prompt=state.prompt, n=state.n, seed=state.seed, scouted=state.scouted, dropped=state.dropped
        )
        if state.activation is not None:
            turn = turn.model_copy(update={"activation": state.activation})
        if state.rounds:
            rounds = best_images.to_mend(state.rounds, self.ctx.settings.accept)
            more = {"rounds": rounds, "methods": tuple(method_names()), "rules": self.ctx.profile.planner}
            turn = turn.model_copy(update=more)
        return turn

    def planner(
        self, state: State
    ) -> Command[Literal["planner", "tools", "scout", "calibrator", "check", "record", "finish"]]:
        """Let the brain take a step, or go where its last step leads."""
        if state.missing and not state.scouted:
            return Command(goto="scout", update=State(messages=(), idle=0))
        experts = state.activation.experts if state.activation else ()
        unknown = tuple(e.id for e in experts if not (e.calibrated or e.ordered or e.id in state.dropped))
        if unknown and self.ctx.profile.vocabulary == "closed" and not self.ctx.unjudged:
            # What a card says is not believed: whoever is to be merged is measured first, and the prompt read again.
            again = State(calibrate=unknown, activation=None, proposal=None, messages=(), idle=0)
            return Command(goto="calibrator", update=again)
        if state.proposal and self._drawn_before(state):
            return self._nothing_else(state)
        if state.proposal:
            return Command(goto="check", update=State(plan_id=state.proposal.plan_id))
        if self.spent(state):
            return self._without_brain(state)
        change = self.think(state)
        if not change.idle:
            return Command(goto="tools", update=change)
        if state.activation is not None and not state.activation.drawable:
            return Command(goto="finish", update=change)
        return Command(
            goto="planner", update=self.nudged(change, "Go on with a tool call: activate_experts, then propose_plan.")
        )

    def _drawn_before(self, state: State) -> bool:
        """Whether orders have made the proposal one whose images an earlier round drew."""
        if state.proposal is None or state.activation is None or not state.activation.orders.said:
            return False
        plan = self.ctx.load_plan(state.proposal.plan_id)
        before = [self.ctx.load_plan(this.plan_id) for this in state.rounds]
        return any(
            set(plan.seeds) <= set(one.seeds) and one.model_copy(update={"seeds": plan.seeds}) == plan for one in before
        )

    def _nothing_else(self, state: State) -> Command[Any]:
        """The end of a run whose orders leave nothing else to try: images that are good enough are accepted."""
        rounds, accept = state.rounds, self.ctx.settings.accept
        liked = not any(rounds[number].sent_back for number, _ in best_images.kept(rounds, state.n))
        if liked and not best_images.weak(rounds, state.n, accept):
            rounds = (*rounds[:-1], rounds[-1].model_copy(update={"decision": "accept"}))
        note = "What is ordered leaves nothing else to try."
        return Command(goto="record", update=State(rounds=rounds, proposal=None, notes=state.with_notes(note)))

    def _without_brain(self, state: State) -> Command[Any]:
        """The solver's default, when the budget is spent or the brain does nothing: a plan comes about whatever the
        brain.
        """
        why = "had no steps left" if self.budget_left(state) <= 0 else "came to no plan"
        if state.rounds:
            notes = state.with_notes(f"The planner {why}; the best round so far is the answer.")
            return Command(goto="record", update=State(notes=notes))
        change = State(notes=state.with_notes(f"The planner {why}; the solver's default was used."))
        try:
            activation = state.activation or activate_experts(self.ctx_for(state), ActivateArgs(prompt=state.prompt))
            change = change.changed(State(activation=activation))
            if not activation.drawable:
                return Command(goto="finish", update=change)
            choice = revise(activation, [], [], set(state.dropped))
            proposal = propose_plan(self.ctx_for(state.changed(change)), choice)
        except (ToolRetry, ToolFailed) as error:
            notes = state.changed(change).with_notes(str(error))
            return Command(goto="finish", update=change.changed(State(notes=notes)))
        return Command(goto="check", update=change.changed(State(proposal=proposal, plan_id=proposal.plan_id)))

    def check(self, state: State) -> Command[Literal["merge", "planner", "record", "finish"]]:
        """Decide by the files' headers whether the plan can be carried out; nothing reaches the merge unchecked."""
        if state.activation is None or not state.activation.drawable:
            return Command(goto="finish", update=State(proposal=None))
        try:
            report = check_plan(self.ctx_for(state), PlanArgs(plan_id=state.plan_id))
            wrong = [Problem.model_validate(p.model_dump()) for p in report.problems if p.fatal]
        except ToolRetry as error:
            wrong = [Problem(code="plan", message=str(error))]
        for problem in wrong:
            self.ctx.say("problem", problem.message, **problem.model_dump())
        if not wrong:
            self.ctx.say("checked", f"plan {state.plan_id[:12]} can be carried out", plan_id=state.plan_id)
            unread = [problem.message for problem in report.problems if problem.code == "prompt"]
            return Command(goto="merge", update=State(problems=(), notes=state.with_notes(*unread)))
        return sent_back(state, wrong)


def sent_back(state: State, problems: Sequence[Problem]) -> Command[Any]:
    """Back to the planner with what is wrong. A problem that no expert causes cannot be planned away: the run ends
    with it.
    """
    dropped = tuple(sorted({*state.dropped, *(p.expert for p in problems if p.expert)}))
    change = State(
        problems=tuple(problems),
        proposal=None,
        plan_id="",
        dropped=dropped,
        notes=state.with_notes(*(p.message for p in problems)),
    )
    if any(not p.expert for p in problems) or dropped == state.dropped:
        return Command(goto="record" if state.rounds else "finish", update=change)
    if state.agent == "planner" and state.messages:
        shown = Human(content=prompts.data("problems", [{"expert": p.expert, "message": p.message} for p in problems]))
        change = change.changed(State(messages=(*state.messages, shown)))
    return Command(goto="planner", update=change)


def blame(plan_experts: Sequence[str], error: DiffGraphError) -> Problem:
    """A merge that failed as a problem; the expert is the one that the message names, or none."""
    text = str(error)
    named = [i for i in plan_experts if i in text]
    only = plan_experts if len(plan_experts) == 1 else []
    return Problem(code="merge", message=text, expert=next(iter([*named, *only]), ""))
