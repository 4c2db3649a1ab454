"""The scout: looks for experts that have a missing skill and registers them. Whether they are any good is the
calibrator's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from langgraph.types import Command

from .. import prompts
from ..errors import ExternalError, UserError
from ..graph.experts.expert import Expert
from ..graph.experts.sources import Search
from ..tools.context import Context
from ..tools.register_experts import Scouting, allowed_sources, scouted
from ..tools.results import Refused
from .agent import Agent
from .requests import ScoutTurn
from .state import State

MOST = 4
"""So many newly found experts a request waits for at most."""


class Scout(Agent):
    """Node ``scout``."""

    name = "scout"

    def instructions(self, state: State) -> str:
        sources = ", ".join(allowed_sources(self.ctx))
        return prompts.load("scout", family=self.ctx.family, sources=sources, budget=str(self.budget_left(state)))

    def turn(self, state: State) -> ScoutTurn:
        missing = state.missing.skills if state.missing else ()
        return ScoutTurn(missing=missing, sources=tuple(allowed_sources(self.ctx)))

    def scout(self, state: State) -> Command[Literal["scout", "tools", "calibrator", "planner"]]:
        """Let the brain take a step; when it is done, what was found goes to the calibrator."""
        if not self.spent(state):
            change = self.think(state)
            if not change.idle:
                return Command(goto="tools", update=change)
            if not state.found and change.idle == 1 and allowed_sources(self.ctx):
                return Command(goto="scout", update=self.nudged(change, "Ask each source once with register_experts."))
        else:
            change = State(notes=state.with_notes("The scout stopped before it had asked every source."))
        claiming = tuple(dict.fromkeys(i for found in state.found for i in found.claiming))
        waiting = () if self.ctx.unjudged else claiming[:MOST]
        change = change.changed(State(calibrate=waiting)).changed(back_to_planner())
        return Command(goto="calibrator" if waiting else "planner", update=change)


def back_to_planner() -> State:
    """The planner starts anew with a graph that has changed, and may not ask the scout again."""
    return State(scouted=True, missing=None, messages=(), idle=0, activation=None)


def scout(
    ctx: Context, source: str | None = None, query: str = "", *, limit: int = 200
) -> tuple[list[Expert], list[Refused]]:
    """Register everything new at a source (default: all that the settings name), without a brain.

    Returns:
        The experts registered, and the repositories refused with the reason.
    """
    done = scouting(ctx, source, query, limit=limit)
    return done.registered, done.refused


def scouting(
    ctx: Context,
    source: str | None = None,
    query: str | Search = "",
    *,
    limit: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    again: bool = False,
) -> Scouting:
    """`scout`, with all that is to be told; without a limit a folder is looked through whole.

    One of several sources that cannot be had is told, and the others are asked all the same.
    """
    names = [source] if source else allowed_sources(ctx)
    done = Scouting()
    for name in names:
        try:
            patience = ctx.settings.scout_patience
            done.add(scouted(ctx, ctx.source(name), query, limit, stopped, again=again, patience=patience))
        except (UserError, ExternalError) as error:
            if len(names) == 1:
                raise
            ctx.say("ended", f"{name}: {error}")
            done.ended.append(f"{name}: {error}")
    return done
