"""The loop is held against its rivals at the number of images that it drew."""

from __future__ import annotations

import pytest

from diffgraph.errors import UserError
from diffgraph.evals.arms import arm as table
from diffgraph.evals.log import Row
from diffgraph.evals.loop_pays import arms, compared, room


def _rows(arm: str, joints: str, made: int | str) -> list[Row]:
    """One row a prompt; ``joints`` and ``made`` a digit each."""
    counts = [int(c) for c in str(made)] if isinstance(made, str) else [made] * len(joints)
    return [
        Row(arm=arm, item=f"i{i}", group="g", seed=0, hits={"subject": c == "1"}, joint=c == "1", made=n)
        for i, (c, n) in enumerate(zip(joints, counts, strict=True))
    ]


def test_a_loop_that_drew_two_and_a_half_images_is_held_against_half_of_two_and_half_of_three() -> None:
    rows = _rows("ours", "1111", "1234")
    rows += _rows("x:1", "0000", 1) + _rows("x:2", "1000", 2) + _rows("x:3", "1100", 3)
    found = compared(rows, "ours", "x")
    assert found is not None
    assert found.images == 2.5
    assert (found.loop_joint, found.rival_joint) == (1.0, 0.375)
    assert found.difference.mean == pytest.approx(0.625)
    assert compared(rows[:-1], "ours", "x") is None
    assert compared(rows, "ours_within:3", "x") is None


def test_a_loop_that_drew_a_whole_number_of_images_is_held_against_that() -> None:
    rows = _rows("ours", "10", "13") + _rows("x:1", "00", 1) + _rows("x:2", "01", 2) + _rows("x:3", "11", 3)
    found = compared(rows, "ours", "x")
    assert found is not None
    assert (found.images, found.loop_joint, found.rival_joint, found.difference.mean) == (2.0, 0.5, 0.5, 0.0)
    assert found.p == 1.0


def test_all_its_arms_are_there_and_other_numbers_are_refused() -> None:
    assert [table.get(name).name for name in arms()] == arms()
    for name in ("ours_within:0", "concat_sum_best_of:many", "ours_no_loop_best_of:70"):
        with pytest.raises(UserError, match="draws 1 to 6 images"):
            table.get(name)


def test_what_more_tries_can_gain_is_counted_by_prompt() -> None:
    def drawn(arm: str, joints: str) -> list[Row]:
        """Two seeds of each of two prompts."""
        return [
            Row(arm=arm, item=f"i{n // 2}", group="g", seed=n % 2, hits={}, joint=c == "1", made=1)
            for n, c in enumerate(joints)
        ]

    rows = drawn("ours_no_loop_best_of:1", "1100") + drawn("ours_no_loop_best_of:2", "1101")
    assert room(rows) is None
    rows += drawn("ours", "0110") + drawn("concat_sum_best_of:1", "1111")
    found = room(rows)
    assert found is not None
    assert (found.prompts, found.always, found.never) == (2, 1, 1)
    assert found.joint == {1: 0.5, 2: 0.75}
    assert found.best_seen == 1.0
    assert (found.first_wrong, found.mended, found.first_right, found.spoiled) == (2, 1, 2, 1)
