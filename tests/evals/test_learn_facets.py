"""Learning facets from pages: what tells them apart is told of pages left out too, and read as it was learnt."""

from __future__ import annotations

import json

import numpy as np

from diffgraph.evals.learn_facets import learnt


def test_what_tells_facets_apart_is_learnt() -> None:
    draw = np.random.default_rng(0)
    facets = [("style", "subject", "utility")[i % 3] for i in range(90)]
    vectors = draw.normal(size=(90, 6)) * 0.1
    signs = draw.integers(0, 2, size=(90, 4)).astype(float)
    for i, facet in enumerate(facets):
        vectors[i, ("style", "subject", "utility").index(facet)] += 1.0
    made, share = learnt(vectors, signs, facets)
    assert share > 0.9
    read = json.loads(json.dumps(made))
    assert read["facets"] == ["style", "subject", "quality"]
    meaning, cues, constant = (np.array(read[name]) for name in ("meaning", "cues", "constant"))
    told = (vectors @ meaning.T + signs @ cues.T + constant).argmax(1)
    assert [made["facets"][i] for i in told] == ["quality" if f == "utility" else f for f in facets]  # type: ignore[index]


def test_chance_is_no_better_than_chance() -> None:
    draw = np.random.default_rng(1)
    facets = [("style", "subject")[i] for i in draw.integers(0, 2, size=200)]
    _, share = learnt(draw.normal(size=(200, 5)), draw.normal(size=(200, 3)), facets)
    assert 0.3 < share < 0.7
