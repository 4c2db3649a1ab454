"""The arm draws with the planner's experts, each half as strong."""

from __future__ import annotations

from pathlib import Path

from diffgraph.evals.arms.arm import get
from diffgraph.evals.evaluation import Evaluation
from diffgraph.evals.judges.protocol import judge_for
from diffgraph.evals.suites.items import Item
from diffgraph.settings import Settings
from diffgraph.tools.context import Context


def test_it_halves_the_planners_weights(tmp_path: Path) -> None:
    item = Item(id="a/crab", group="a", prompt="a crab in neon style", canonical="crab, neon style", subject="crab")
    with Context.open(Settings(home=tmp_path, steps=1)) as ctx:
        evaluation = Evaluation(ctx, judge_for(ctx.profile))
        proposed = evaluation.proposed(item, (0, 1))
        found = list(get("half").run(evaluation, [item], (0, 1)))
    assert proposed is not None
    assert [answer.seed for answer in found] == [0, 1]
    weights = {e.id: e.weight for e in found[0].plan.experts}
    assert weights == {e.id: e.weight / 2 for e in proposed.experts}
    assert all(answer.image is not None for answer in found)
