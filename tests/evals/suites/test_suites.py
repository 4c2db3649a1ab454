"""The suites that ship are sound, and selection is graded as said."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from diffgraph.errors import UserError
from diffgraph.evals.arms import arm as table
from diffgraph.evals.suites import suite
from diffgraph.evals.suites.image_suite import ImageSuite
from diffgraph.evals.suites.selection import Choice, SelectionSuite, expected, grade, rate, words
from diffgraph.evals.suites.truth import truth
from diffgraph.world.recipe.looks import BACKGROUNDS, STYLES
from diffgraph.world.recipe.subjects import BASE, COLORS, PACKS


@pytest.mark.parametrize("name", suite.names())
def test_a_suite_loads_and_names_known_arms(name: str) -> None:
    found = suite.load(name)
    assert found.title
    if isinstance(found, ImageSuite):
        for arm in found.arms:
            assert table.get(arm).title
        assert len(found.seeds) >= 3
    world = truth()
    known = {*world.subject, *(e for ids in (*world.style.values(), *world.background.values()) for e in ids)}
    for item in found.all_items():
        assert item.wanted
        assert set(item.experts) <= known | set(world.decoys.values())


def test_the_truth_is_the_recipes() -> None:
    world = truth()
    assert {k.removeprefix("world/"): v for k, v in world.subject.items()} == dict(PACKS)
    assert set(world.style) == set(STYLES)
    assert set(world.background) == set(BACKGROUNDS)
    assert world.base["subject"] == BASE
    assert world.base["background"] == tuple(f"plain {c}" for c in COLORS)


def test_compose_has_a_group_for_every_combination_and_the_right_experts() -> None:
    items = suite.load("compose").all_items()
    counts = Counter(i.group for i in items)
    assert counts == {"subject": 24, "subject+style": 67, "subject+background": 24, "subject+style+background": 65}
    world = truth()
    for item in items:
        assert list(item.experts) == [world.experts(w.facet, w.text)[0] for w in item.wanted]


@pytest.mark.parametrize("group", ["subject+style", "subject+style+background"])
def test_every_pack_meets_every_style_in_compose(group: str) -> None:
    of = {subject: pack for pack, subjects in PACKS.items() for subject in subjects}
    items = [i for i in suite.load("compose").all_items() if i.group == group]
    assert {(of[str(i.subject)], i.style) for i in items} == set(itertools.product(PACKS, STYLES))


def test_what_was_developed_on_is_not_in_compose() -> None:
    shown = [{(i.subject, i.style, i.background) for i in suite.load(s).all_items()} for s in ("develop", "compose")]
    assert not shown[0] & shown[1]


def _images(name: str) -> ImageSuite:
    found = suite.load(name)
    assert isinstance(found, ImageSuite)
    return found


def test_a_limit_takes_some_of_each_group() -> None:
    chosen = _images("compose").select(3)
    assert set(Counter(i.group for i in chosen).values()) == {3}


def test_selection_asks_enough_of_known_skills_only() -> None:
    found = suite.load("selection")
    assert isinstance(found, SelectionSuite)
    world = truth()
    assert len(found.choices) >= 150
    for choice in found.choices:
        for facet, names in choice.want.items():
            for name in names:
                assert world.experts(facet, name) or name in world.base[facet], choice.id
        assert choice.want or choice.uncovered
        for missing in choice.uncovered:
            assert words(missing) <= words(choice.prompt), choice.id


def test_unknown_suites_are_answered_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compose"):
        suite.load("composs")
    with pytest.raises(UserError, match="no suite"):
        suite.load("_truth")
    own = tmp_path / "own.yaml"
    own.write_text("title: Own\ngrids: [{group: g, subjects: [cat, cat]}]\n")
    with pytest.raises(UserError, match="twice"):
        suite.load(str(own))
    own.write_text("title: Own\ngrids: [{group: g, subjects: [cat], styles: [neon, blueprint]}]\n")
    assert [i.canonical for i in suite.load(str(own)).all_items()] == ["cat, neon style", "cat, blueprint style"]


def test_grading_by_hand() -> None:
    world = truth()
    asked = Choice(
        id="x", group="g", prompt="sunset octopus, cubist",
        want={"subject": ("octopus",), "style": ("sunset duotone",)}, uncovered=("cubist",),
    )  # fmt: skip
    assert len(expected(asked, world)) == 2
    full = grade(asked, ["world/sea-life", "world/emoji-sunset-full"], ["cubist style"], world)
    assert full.exact
    half = grade(asked, ["world/sea-life", "world/ocean-creatures-v2"], ["octopus"], world)
    assert half.right == ("world/sea-life",)
    assert half.missed == ("world/sunset-duotone",)
    assert half.extra == half.decoys == ("world/ocean-creatures-v2",)
    assert half.unnamed == ("cubist",)
    assert half.loose == ("octopus",)
    both = rate([full, half])
    assert both.precision == both.recall == both.f1 == 0.75
    assert both.uncovered_recall == 0.5
    assert both.decoys == 1
    assert both.exact.mean == 0.5
