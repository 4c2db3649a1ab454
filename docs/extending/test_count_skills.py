"""The tool counts what is in the graph, and the planner's brain is offered it."""

from __future__ import annotations

from pathlib import Path

from diffgraph import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.tool import call, tools


def test_it_counts_the_skills_of_a_facet(tmp_path: Path) -> None:
    with Context.open(Settings(home=tmp_path)) as ctx:
        styles = [s for e in ctx.store.experts() for s in e.skills if s.facet == "style"]
        assert styles
        assert call(ctx, "count_skills", {"facet": "style"}, "planner").model_dump() == {"count": len(styles)}
        assert call(ctx, "count_skills", {"facet": "lighting"}).model_dump() == {"count": 0}


def test_only_the_planner_may_call_it() -> None:
    assert "count_skills" in tools("planner")
    assert "count_skills" not in tools("critic")
