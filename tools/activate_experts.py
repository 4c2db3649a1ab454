"""Tool: which experts a prompt needs, by the solver in the graph."""

from __future__ import annotations

from pydantic import Field

from ..errors import ToolFailed
from ..graph.selection.activation import Activation
from ..graph.selection.solver import activate
from .context import Context
from .obeying import unmet
from .results import ActivationResult, Rejected
from .tool import Args, tool


class ActivateArgs(Args):
    prompt: str = Field(min_length=1, max_length=8000, description="the user's prompt, word for word")


@tool("activate_experts", agents=("planner",), writes="activation")
def activate_experts(ctx: Context, args: ActivateArgs) -> ActivationResult:
    """Read a prompt against the graph: its facets, who draws each, the solver's weights, and what nobody can draw
    (uncovered).
    """
    if ctx.store.base(ctx.family) is None and not ctx.store.experts(ctx.family):
        raise ToolFailed(f"the graph holds nothing for base family {ctx.family}: run `diffgraph scout` first")
    found = activate(args.prompt, ctx.store, ctx.family, ctx.reading)
    activation = result_of(args.prompt, found)
    return activation.model_copy(update={"unmet": unmet(ctx, activation)})


def result_of(prompt: str, found: Activation) -> ActivationResult:
    """An activation as a result: what somebody can draw apart from what nobody can, numbers rounded."""
    unmet = [f.text for f in found.facets if f.by is None]
    drawn = [f for f in found.facets if f.by is not None]
    return ActivationResult(
        read=prompt,
        prompt=found.prompt,
        facets=tuple(f.model_copy(update={"score": round(float(f.score), 4)}) for f in drawn),
        experts=tuple(
            e.model_copy(update={"weight": round(float(e.weight), 4), "triggers": e.triggers or (e.trigger,)})
            for e in found.experts
        ),
        uncovered=tuple(dict.fromkeys([*found.uncovered, *unmet])),
        excluded=found.excluded,
        orders=found.request.orders,
        words=found.request.words,
        rejected=tuple(Rejected(id=str(i), why=str(why)) for i, why in list(found.rejected)[:20]),
    )
