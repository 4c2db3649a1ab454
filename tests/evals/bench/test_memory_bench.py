"""The memory that a plan's check promises is that of a run, within a factor of one and a half."""

from __future__ import annotations

import pytest

from diffgraph.evals.bench.memory_bench import CASES, measure_all


@pytest.mark.slow
@pytest.mark.parametrize("builds", [("tiny",), ("middle",)])
def test_the_promise_is_near_the_peak(builds):
    cases = tuple(case for case in CASES if case.build in builds)
    for one in measure_all(cases):
        assert 1 / 1.5 <= one.ratio <= 1.5, one.sentence()
