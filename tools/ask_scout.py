"""Tool: hand over to the scout."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..errors import ToolRetry
from .context import Context
from .results import MissingSkills
from .tool import Args, tool


class AskScoutArgs(Args):
    skills: list[Annotated[str, Field(min_length=1, max_length=120)]] = Field(
        min_length=1, max_length=8, description="the uncovered words, one entry each missing skill"
    )


@tool("ask_scout", agents=("planner",), writes="missing")
def ask_scout(ctx: Context, args: AskScoutArgs) -> MissingSkills:
    """Hand over to the scout, who looks for experts that have the missing skills. Possible once a request."""
    if ctx.job.scouted:
        raise ToolRetry("the scout has already looked; plan with what there is")
    return MissingSkills(skills=tuple(sorted(set(args.skills))))
