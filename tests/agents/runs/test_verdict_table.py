"""What a critic says of an image, as a terminal shows it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from diffgraph.agents.runs.atoms import Atom, atoms, critics_of, summary
from diffgraph.agents.runs.result import RunResult
from diffgraph.agents.runs.verdict_table import by_whom, headline, rows
from diffgraph.agents.state import AnswerImage, AnswerScores
from diffgraph.graph.selection.activation import FacetMatch
from diffgraph.terminal import CleanConsole


def image(seed: int = 0, by: str = "vlm:local:eyes", **facets: float) -> AnswerImage:
    said = {name.replace("_", " "): p for name, p in facets.items()}
    seen = {"blueprint style": "a pencil sketch"} if said.get("blueprint style", 1.0) < 0.5 else {}
    return AnswerImage(seed=seed, score=0.5, facets=said, findings=(), plan_id="p", round=1, seen=seen, by=by)


def result(*images: AnswerImage) -> RunResult:
    facets = images[0].facets if images else {}
    subject = FacetMatch(facet="subject", text="octopus", skill="octopus", trigger="octopus", by="base", score=1.0)
    return RunResult(
        run_dir=Path("/runs/1"),
        plan=None,
        images=tuple(Path(f"/runs/1/image_{i.seed}.png") for i in images) or (Path("/runs/1/image_0.png"),),
        scores=AnswerScores(plan_id="p", score=0.5, facets=facets, images=images) if images else None,
        uncovered=(),
        timings={},
        trace=(),
        status="best effort" if images else "unjudged",
        facets=(subject,),
    )


def printed(found: RunResult, number: int = 0, width: int = 100) -> list[str]:
    out = io.StringIO()
    told = rows(found, number)
    assert told is not None
    CleanConsole(file=out, width=width).print(told)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_one_row_an_atom() -> None:
    found = result(image(octopus=0.93, blueprint_style=0.24))
    assert printed(found) == [
        "✓ octopus subject █████████░ 0.93",
        "✗ blueprint style ██░░░░░░░░ 0.24 seen instead: a pencil sketch",
    ]
    assert (by_whom(found), headline(found, 0)) == ("vlm:local:eyes", "image_0.png 0.50".replace(" ", "  "))


def test_who_judged_is_named_once_and_nobody_is_said_to_be_nobody() -> None:
    several = result(image(0, octopus=0.9), image(1, octopus=0.8), image(2, by="world", octopus=0.7))
    assert by_whom(several) == "vlm:local:eyes, world"
    assert critics_of([image(by="", octopus=0.1)]) == ()
    assert "not kept" in by_whom(result(image(by="", octopus=0.1)))
    assert by_whom(result()) == "nobody"
    assert rows(result(), 0) is None
    assert headline(result(), 0) == "image_0.png"


def test_a_narrow_terminal_folds_the_words_and_keeps_the_numbers() -> None:
    lines = printed(result(image(octopus=0.93, blueprint_style=0.24)), width=48)
    assert any("0.93" in line for line in lines)
    assert any("0.24" in line for line in lines)


def test_strangers_words_stay_words() -> None:
    text = "\x1b[31m[bold]octopus[/bold]\x07" + "y" * 500
    found = result(image().model_copy(update={"facets": {text: 0.2}, "seen": {text: text}, "by": "\x1b[2Jme"}))
    joined = "".join(printed(found, width=400))
    assert "[bold]octopus[/bold]" in joined
    assert "\x1b" not in joined
    assert "y" * 200 not in joined
    assert "\x1b" not in by_whom(found)


@pytest.mark.parametrize(("p", "shown"), [(0.5, True), (0.4999, False), (None, None)])
def test_from_half_on_it_counts_as_shown(p: float | None, shown: bool | None) -> None:
    assert Atom("subject", "octopus", p).shown is shown


def test_a_summary_counts_what_was_judged() -> None:
    said = atoms(image(octopus=0.9, blueprint_style=0.1), {"octopus": "subject", "sea": "background"})
    assert [(a.facet, a.text, a.p) for a in said] == [
        ("subject", "octopus", 0.9),
        ("background", "sea", None),
        ("", "blueprint style", 0.1),
    ]
    assert summary(said) == "1 of 2 shown"
    assert summary(atoms(None, {"octopus": "subject"})) == ""
