"""The scout: looks for experts that have a missing skill and registers them. Whether they are any good is the
calibrator's business.
"""

from __future__ import annotations

from typing import Any, Literal

from langgraph.types import Command

from .. import prompts
from ..graph.experts.expert import Expert
from ..tools.context import Context
from ..tools.register_experts import allowed_sources, register_new
from .conversation import Turn, told
from .state import State

MOST = 4
"""So many newly found experts a request waits for at most."""


class Scout(Turn):
    """Node ``scout``."""

    name = "scout"

    def instructions(self, state: State) -> str:
        sources = ", ".join(allowed_sources(self.ctx))
        return prompts.load("scout", family=self.ctx.family, sources=sources, budget=str(self.budget_left(state)))

    def request(self, state: State) -> dict[str, Any]:
        return {"missing": state["missing"]["skills"], "sources": allowed_sources(self.ctx)}

    def scout(self, state: State) -> Command[Literal["scout", "tools", "calibrator", "planner"]]:
        """Let the brain take a step; when it is done, what was found goes to the calibrator."""
        if not self.spent(state):
            update = self.think(state)
            if not update["idle"]:
                return Command(goto="tools", update=update)
            if not state.get("found") and update["idle"] == 1 and allowed_sources(self.ctx):
                return Command(goto="scout", update=self.nudged(update, "Ask each source once with register_experts."))
        else:
            update = {"notes": told(state, "The scout stopped before it had asked every source.")}
        claiming = list(dict.fromkeys(i for found in state.get("found", []) for i in found["claiming"]))
        return Command(
            goto="calibrator" if claiming else "planner",
            update={**update, "calibrate": claiming[:MOST], **back_to_planner()},
        )


def back_to_planner() -> State:
    """The planner starts anew with a graph that has changed, and may not ask the scout again."""
    return {"scouted": True, "missing": {}, "messages": [], "idle": 0, "activation": {}}


def scout(
    ctx: Context, source: str | None = None, query: str = "", *, limit: int = 200
) -> tuple[list[Expert], list[dict[str, str]]]:
    """Register everything new at a source (default: all that the settings name), without a brain.

    Returns:
        The experts registered, and the repositories refused with the reason (``{"repo", "why"}``).
    """
    registered: list[Expert] = []
    refused: list[dict[str, str]] = []
    for name in [source] if source else allowed_sources(ctx):
        more, bad = register_new(ctx, ctx.source(name), query, limit)
        registered += more
        refused += bad
    return registered, refused
