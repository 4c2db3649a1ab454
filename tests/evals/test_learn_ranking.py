"""Learning weights from recipes: what was taken comes to stand first, also where it was not learnt from."""

from __future__ import annotations

import json

import numpy as np

from diffgraph.evals.learn_ranking import Lesson, learnt
from diffgraph.graph.finding.evidence import ALL_COLUMNS, COLUMNS, compared
from diffgraph.graph.finding.ranking import Weights, chances, scores


def test_what_was_taken_stands_first() -> None:
    draw = np.random.default_rng(0)
    says = COLUMNS.index("says")
    given = []
    for page in range(60):
        evidence = np.abs(draw.normal(size=(12, len(COLUMNS))))
        taken = np.zeros(12)
        taken[page % 12] = 1.0
        evidence[page % 12, says] += 4.0
        given.append(Lesson("one/prompt", f"page {page}", evidence, compared(evidence), taken, 1))
    made, recall = learnt(given)
    assert recall["one/prompt"]["recall@1"] > 0.9
    read = json.loads(json.dumps(made))
    mean, spread, weight = (np.array([read["columns"][name][i] for name in ALL_COLUMNS]) for i in range(3))
    weights = Weights(mean, spread, weight, np.array(read["chance"]))
    one = given[0]
    ranked = scores(one.evidence, weights)
    assert int(ranked.argmax()) == 0
    likely = chances(one.evidence, ranked, weights)
    assert likely[0] > 0.5 > likely[1:].max()
