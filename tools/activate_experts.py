"""Tool: which experts a prompt needs, by the solver in the graph."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..errors import ToolFailed
from ..graph.selection.activation import Activation
from ..graph.selection.solver import activate
from .context import Context
from .tool import Args, tool


class ActivateArgs(Args):
    prompt: str = Field(min_length=1, max_length=8000, description="the user's prompt, word for word")


@tool("activate_experts", agents=("planner",), writes="activation")
def activate_experts(ctx: Context, args: ActivateArgs) -> dict[str, Any]:
    """Read a prompt against the graph: its facets, who draws each, the solver's weights, and what nobody can draw
    (uncovered).
    """
    if ctx.store.base(ctx.family) is None and not ctx.store.experts(ctx.family):
        raise ToolFailed(f"the graph holds nothing for base family {ctx.family}: run `diffgraph scout` first")
    found = activate(args.prompt, ctx.store, ctx.family, ctx.reading)
    return plain(args.prompt, found)


def plain(prompt: str, found: Activation) -> dict[str, Any]:
    """An activation, JSON-plain, with numbers rounded so that two machines agree on the text.

    ``facets`` holds what somebody can draw; what nobody can stands in ``uncovered``.
    """
    unmet = [f.text for f in found.facets if f.by is None]
    return {
        "read": prompt,
        "prompt": found.prompt,
        "facets": [
            {
                "facet": f.facet,
                "text": f.text,
                "skill": f.skill,
                "trigger": f.trigger,
                "by": f.by,
                "score": round(float(f.score), 4),
            }
            for f in found.facets
            if f.by is not None
        ],
        "experts": [
            {
                "id": e.id,
                "facet": e.facet,
                "trigger": e.trigger,
                "triggers": list(e.triggers) or [e.trigger],
                "weight": round(float(e.weight), 4),
                "calibrated": e.calibrated,
            }
            for e in found.experts
        ],
        "uncovered": list(dict.fromkeys([*found.uncovered, *unmet])),
        "rejected": [{"id": str(i), "why": str(why)} for i, why in list(found.rejected)[:20]],
    }
