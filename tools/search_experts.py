"""Tool: skills nearest in meaning to a text."""

from __future__ import annotations

from pydantic import Field

from ..graph.experts.expert import Facet
from .context import Context
from .results import SearchHit, SearchHits
from .tool import Args, tool


class SearchArgs(Args):
    query: str = Field(min_length=1, max_length=300, description="what to look for, in a few words")
    facet: Facet | None = Field(default=None, description="only skills of this facet")
    k: int = Field(default=6, ge=1, le=20, description="how many")


@tool("search_experts", agents=("planner", "scout"))
def search_experts(ctx: Context, args: SearchArgs) -> SearchHits:
    """Find skills in the graph by meaning. Returns expert id, skill, trigger, similarity (0..1) and what
    calibration found.
    """
    verdicts = {c.expert_id: c.verdict for c in ctx.store.calibrations()}
    hits = ctx.store.search(args.query, ctx.family, args.facet, args.k)
    return SearchHits(
        hits=tuple(
            SearchHit(
                expert=hit.expert_id,
                facet=hit.facet,
                skill=hit.skill.name,
                trigger=hit.skill.trigger,
                score=round(hit.score, 3),
                calibration=verdicts.get(hit.expert_id, "not calibrated"),
            )
            for hit in hits
        )
    )
