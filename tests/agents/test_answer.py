"""What the user is told at the end is so."""

from __future__ import annotations

from typing import Any

import pytest

from diffgraph.agents import answer
from diffgraph.agents.state import AnswerImage, AnswerScores, Round, RoundImage, State
from diffgraph.merging.plan.merge_plan import MergePlan, PlanBase

PLAN = MergePlan(base=PlanBase(ref="world:b", family="f", sha256="0" * 64), prompt="pizza", seeds=(0,))


def ended(score: float, *, sent_back: bool, decision: Any = "revise") -> str:
    facets = {"pizza": score}
    image = RoundImage(slot=0, seed=0, score=score, facets=facets)
    this = Round(
        plan_id="p", method="linear", guidance=1.0, unsaid="", seed=0, experts=(), score=score, facets=facets,
        findings=(), decision=decision, sent_back=sent_back, images=(image,),
    )  # fmt: skip
    told = AnswerImage(seed=0, score=score, facets=facets, findings=(), plan_id="p", round=1)
    scores = AnswerScores(plan_id="p", score=score, facets=facets, images=(told,))
    state = State(prompt="pizza", rounds=(this,))
    change = answer.of_images(state, PLAN, ["image_0.png"], scores, accept=0.8, accepted=decision == "accept")
    return change.message


@pytest.mark.parametrize(
    ("score", "sent_back", "decision", "said"),
    [
        (0.98, True, "revise", "0.98, which is good enough, but the brain that judges sent it back, after one round."),
        (0.98, False, "again", "0.98, which is good enough, though another try came to nothing, after one round."),
        (0.41, False, "revise", "0.41, which is under the mark, after one round; weakest is 'pizza' (0.41)."),
        (0.98, False, "accept", "0.98: accepted."),
    ],
)
def test_a_score_is_under_the_mark_only_where_it_is(score: float, sent_back: bool, decision: Any, said: str) -> None:
    assert ended(score, sent_back=sent_back, decision=decision) == f"The critic gives the image {said}"
