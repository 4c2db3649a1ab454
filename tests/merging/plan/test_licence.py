"""The licence of a merge: the strictest, and unknown where anything is."""

from __future__ import annotations

import itertools

import pytest

from diffgraph.merging.plan.licence import CONDITIONS, output_licence


@pytest.mark.parametrize(
    ("parents", "licence"),
    [
        (("apache-2.0",), "apache-2.0"),
        (("mit", "CreativeML-OpenRAIL-M"), "creativeml-openrail-m"),
        (("mit", "cc0-1.0", "cc-by-nc-4.0"), "cc-by-nc-4.0"),
        (("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0"), "cc-by-nc-sa-4.0"),
        (("apache-2.0", "mit"), "apache-2.0 AND mit"),
        (("creativeml-openrail-m", "cc-by-nc-4.0"), "cc-by-nc-4.0 AND creativeml-openrail-m"),
        (("mit", "unknown"), "unknown"),
        (("mit", "my own words"), "unknown"),
        (("mit", ""), "unknown"),
        ((), "unknown"),
    ],
)
def test_the_strictest_speaks_for_all(parents, licence):
    for order in itertools.islice(itertools.permutations(parents), 3):
        assert output_licence({f"p{i}": text for i, text in enumerate(order)}).id == licence


def test_unknown_parents_are_named_and_hide_no_conditions():
    found = output_licence({"base": "mit", "a": "unknown", "b": "weird-1.0"})
    assert found.unknown == ("a", "b ('weird-1.0')")
    assert found.conditions == ()
    assert "unknown, because that of a, b ('weird-1.0') is" in found.sentence()


def test_what_cannot_be_passed_on_is_told():
    assert "does not allow" in output_licence({"a": "cc-by-nd-4.0", "b": "mit"}).problem
    assert "under neither" in output_licence({"a": "gpl-3.0", "b": "cc-by-sa-4.0"}).problem
    assert output_licence({"a": "gpl-3.0", "b": "mit"}).problem == ""


def test_no_licence_loses_a_condition_by_merging():
    for one, other in itertools.combinations(sorted(CONDITIONS), 2):
        assert set(output_licence({"a": one, "b": other}).conditions) == CONDITIONS[one] | CONDITIONS[other]
