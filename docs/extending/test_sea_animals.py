"""The suite is one that the runner takes: every subject in every style."""

from __future__ import annotations

from pathlib import Path

from diffgraph.evals.suites.suite import load


def test_every_subject_meets_every_style() -> None:
    suite = load(str(Path(__file__).with_name("sea_animals.yaml")))
    assert len(suite.all_items()) == 6
