"""Tool: the critic's decision, which hands over to the next step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .context import Context
from .results import CriticDecision
from .tool import Args, tool


class VerdictArgs(Args):
    decision: Literal["accept", "revise"] = Field(description="accept the images, or send the plan back")
    findings: list[Annotated[str, Field(max_length=300)]] = Field(
        default_factory=list, max_length=12, description="for the planner: which facet is weak, and why"
    )


@tool("give_verdict", agents=("critic",), writes="verdict")
def give_verdict(ctx: Context, args: VerdictArgs) -> CriticDecision:
    """Accept the images of this round or send the plan back to the planner with findings."""
    return CriticDecision(decision=args.decision, findings=tuple(args.findings))
