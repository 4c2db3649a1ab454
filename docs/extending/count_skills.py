"""A tool that the planner's brain may call: how many skills of a facet the graph holds."""

from __future__ import annotations

from pydantic import Field

from diffgraph.tools.context import Context
from diffgraph.tools.tool import Args, Result, tool


class CountArgs(Args):
    facet: str = Field(default="style", description="subject, style, background, …")


class Count(Result):
    count: int


@tool("count_skills", agents=("planner",))
def count_skills(ctx: Context, args: CountArgs) -> Count:
    """Say how many skills of a facet the graph holds."""
    return Count(count=sum(s.facet == args.facet for e in ctx.store.experts() for s in e.skills))
