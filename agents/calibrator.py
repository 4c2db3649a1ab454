"""The calibrator: has each expert draw the reference prompts and writes down what it really does. No brain decides
here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from langchain_core.language_models import BaseChatModel
from langgraph.types import Command

from ..errors import ToolFailed, ToolRetry
from ..graph.experts.expert import Expert
from ..tools.calibrate_expert import CalibrateArgs, calibrate_expert
from ..tools.context import Context
from ..tools.layout_share import look
from ..tools.results import Measured, NotMeasured
from .state import State


class Calibrator:
    """Node ``calibrator``: one expert a visit, so that a checkpoint lies between two of them."""

    def __init__(self, ctx: Context, brain: BaseChatModel | None = None) -> None:
        self.ctx = ctx

    def calibrator(self, state: State) -> Command[Literal["calibrator", "planner"]]:
        """Measure the next expert that waits."""
        waiting = state.calibrate
        if not waiting:
            return Command(goto="planner")
        done = next(iter(calibrate(self.ctx, waiting[:1])))
        change = State(calibrate=waiting[1:])
        if isinstance(done, NotMeasured):
            notes = state.with_notes(f"{done.expert} could not be calibrated: {done.failed}")
            change = change.changed(State(notes=notes, dropped=tuple(sorted({*state.dropped, done.expert}))))
        return Command(goto="calibrator" if waiting[1:] else "planner", update=change)


def _rank(expert: Expert) -> int:
    skill = look(expert)
    return 0 if skill is None else 2 if skill.facet == "style" else 1


def calibrate(ctx: Context, expert_ids: Iterable[str] | None = None) -> Iterable[Measured | NotMeasured]:
    """Calibrate experts (default: all of this base), yielding one result an expert as it is done.

    Those measured before are not measured again; interrupted, the next call goes on where this one stopped. Of all,
    those of subjects come first and styles last: a look is measured beside what is known by then.
    """
    if expert_ids is None:
        everyone = ctx.store.experts(ctx.family)
        ids = [e.id for e in sorted(everyone, key=_rank)]
    else:
        ids = list(expert_ids)
    for number, expert_id in enumerate(ids):
        ctx.say("calibrating", f"calibrating {expert_id}", expert=expert_id, done=number, total=len(ids))
        try:
            yield calibrate_expert(ctx, CalibrateArgs(expert_id=expert_id))
        except (ToolRetry, ToolFailed) as error:
            ctx.say("failed", f"{expert_id}: {error}", expert=expert_id)
            yield NotMeasured(expert=expert_id, failed=str(error))
