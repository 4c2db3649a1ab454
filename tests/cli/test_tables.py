"""What a command says of a run: images, what the critic sees in each, who judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgraph.agents.runs.result import RunResult
from diffgraph.agents.state import AnswerImage, AnswerScores
from diffgraph.cli import tables
from diffgraph.graph.selection.activation import FacetMatch

OCTOPUS = FacetMatch(facet="subject", text="octopus", skill="octopus", trigger="octopus", by="base", score=1.0)


def result(*images: AnswerImage) -> RunResult:
    return RunResult(
        run_dir=Path("/runs/1"),
        plan=None,
        images=(Path("/runs/1/image_7.png"),),
        scores=AnswerScores(plan_id="p", score=0.4, facets=images[0].facets, images=images) if images else None,
        uncovered=(),
        timings={},
        trace=(),
        status="best effort" if images else "unjudged",
        message="So it is.",
        facets=(OCTOPUS,),
    )


def said(capsys: pytest.CaptureFixture[str], found: RunResult) -> list[str]:
    tables.run(found)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_each_image_with_what_the_critic_sees(capsys: pytest.CaptureFixture[str]) -> None:
    image = AnswerImage(
        seed=7, score=0.4, facets={"octopus": 0.31}, findings=(), plan_id="p", round=1, seen={"octopus": "squid"},
        by="vlm:openai:eyes",
    )  # fmt: skip
    assert said(capsys, result(image)) == [
        "best effort: So it is.",
        "image /runs/1/image_7.png",
        "✗ octopus subject ███░░░░░░░ 0.31 seen instead: squid",
        "judged by vlm:openai:eyes",
        "page /runs/1/index.html",
    ]


def test_an_image_that_nobody_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, result())[1:] == ["image /runs/1/image_7.png", "judged by nobody", "page /runs/1/index.html"]
