"""The planner: prompt -> activation -> proposed plan, by way of its brain; and what happens when the brain fails to
deliver.
"""

from __future__ import annotations

from typing import Any, Literal

from langgraph.types import Command

from .. import prompts
from ..errors import DiffGraphError, ToolFailed, ToolRetry
from ..tools.propose_plan import method_names
from ..tools.tool import call
from . import best_images
from .brains import messages as plain
from .brains.offline import revise
from .conversation import Turn, told
from .state import State


def drawable(activation: dict[str, Any]) -> bool:
    """Whether an image makes sense: something can be drawn, and a missing subject is not passed over in silence."""
    facets = activation.get("facets", [])
    return bool(facets) and (not activation["uncovered"] or any(f["facet"] == "subject" for f in facets))


class Planner(Turn):
    """Node ``planner`` and node ``check``."""

    name = "planner"

    def instructions(self, state: State) -> str:
        return prompts.load("planner", family=self.ctx.family, budget=str(self.budget_left(state)))

    def request(self, state: State) -> dict[str, Any]:
        request: dict[str, Any] = {
            "prompt": state["prompt"],
            "n": state.get("n", 1),
            "seed": state.get("seed", 0),
            "scouted": state.get("scouted", False),
            "dropped": state.get("dropped", []),
        }
        if state.get("activation"):
            request["activation"] = state["activation"]
        if state.get("rounds"):
            rounds = best_images.to_mend(state["rounds"], self.ctx.settings.accept)
            request |= {"rounds": rounds, "methods": method_names()}
        return request

    def planner(
        self, state: State
    ) -> Command[Literal["planner", "tools", "scout", "calibrator", "check", "record", "finish"]]:
        """Let the brain take a step, or go where its last step leads."""
        if state.get("missing") and not state.get("scouted"):
            return Command(goto="scout", update={"messages": [], "idle": 0})
        unknown = [e["id"] for e in (state.get("activation") or {}).get("experts", []) if not e["calibrated"]]
        unknown = [i for i in unknown if i not in state.get("dropped", [])]
        if unknown:
            # What a card says is not believed: whoever is to be merged is measured first, and the prompt read again.
            again: State = {"calibrate": unknown, "activation": {}, "proposal": {}, "messages": [], "idle": 0}
            return Command(goto="calibrator", update=again)
        if state.get("proposal"):
            return Command(goto="check", update={"plan_id": state["proposal"]["plan_id"]})
        if self.spent(state):
            return self._without_brain(state)
        update = self.think(state)
        if not update["idle"]:
            return Command(goto="tools", update=update)
        if state.get("activation") and not drawable(state["activation"]):
            return Command(goto="finish", update=update)
        return Command(
            goto="planner", update=self.nudged(update, "Go on with a tool call: activate_experts, then propose_plan.")
        )

    def _without_brain(self, state: State) -> Command[Any]:
        """The solver's default, when the budget is spent or the brain does nothing: a plan comes about whatever the
        brain.
        """
        why = "had no steps left" if self.budget_left(state) <= 0 else "came to no plan"
        if state.get("rounds"):
            return Command(
                goto="record", update={"notes": told(state, f"The planner {why}; the best round so far is the answer.")}
            )
        ctx = self.ctx_for(state)
        update: State = {"notes": told(state, f"The planner {why}; the solver's default was used.")}
        try:
            activation = state.get("activation") or call(ctx, "activate_experts", {"prompt": state["prompt"]})
            update["activation"] = activation
            if not drawable(activation):
                return Command(goto="finish", update=update)
            ctx = self.ctx_for({**state, **update})
            choice = revise(activation, [], [], set(state.get("dropped", [])))
            update["proposal"] = call(ctx, "propose_plan", choice)
        except (ToolRetry, ToolFailed) as error:
            update["notes"] = told({**state, **update}, str(error))
            return Command(goto="finish", update=update)
        return Command(goto="check", update={**update, "plan_id": update["proposal"]["plan_id"]})

    def check(self, state: State) -> Command[Literal["merge", "planner", "record", "finish"]]:
        """Decide by the files' headers whether the plan can be carried out; nothing reaches the merge unchecked."""
        if not drawable(state.get("activation") or {}):
            return Command(goto="finish", update={"proposal": {}})
        try:
            report = call(self.ctx_for(state), "check_plan", {"plan_id": state["plan_id"]})
            wrong = [p for p in report["problems"] if p["fatal"]]
        except ToolRetry as error:
            wrong = [{"code": "plan", "message": str(error), "expert": ""}]
        for problem in wrong:
            self.ctx.say("problem", problem["message"], **problem)
        if not wrong:
            self.ctx.say("checked", f"plan {state['plan_id'][:12]} can be carried out", plan_id=state["plan_id"])
            return Command(goto="merge", update={"problems": []})
        return sent_back(state, wrong)


def sent_back(state: State, problems: list[dict[str, Any]]) -> Command[Any]:
    """Back to the planner with what is wrong. A problem that no expert causes cannot be planned away: the run ends
    with it.
    """
    dropped = sorted({*state.get("dropped", []), *(p["expert"] for p in problems if p["expert"])})
    update: State = {
        "problems": problems,
        "proposal": {},
        "plan_id": "",
        "dropped": dropped,
        "notes": told(state, *(p["message"] for p in problems)),
    }
    if any(not p["expert"] for p in problems) or dropped == state.get("dropped", []):
        return Command(goto="record" if state.get("rounds") else "finish", update=update)
    if state.get("agent") == "planner" and state.get("messages"):
        shown = [{"expert": p["expert"], "message": p["message"]} for p in problems]
        update["messages"] = [*state["messages"], plain.human(prompts.data("problems", shown))]
    return Command(goto="planner", update=update)


def blame(plan_experts: list[str], error: DiffGraphError) -> dict[str, Any]:
    """A merge that failed as a problem; the expert is the one that the message names, or none."""
    text = str(error)
    named = [i for i in plan_experts if i in text]
    only = plan_experts if len(plan_experts) == 1 else []
    return {"code": "merge", "message": text, "expert": (named or only or [""])[0]}
