"""Orders hold from the first round to the last, survive an interruption, and stand in the run folder; and a plan at
hand is drawn as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffgraph.agents.runs import generate as runs
from diffgraph.agents.runs.generate import generate, plan, resume
from diffgraph.agents.runs.render import render_plan, with_seeds
from diffgraph.errors import PlanError, UserError
from diffgraph.graph.reading.request import Orders
from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.merging.sampling.png_record import read_plan
from diffgraph.settings import Settings
from diffgraph.tools.context import Context

PROMPT = "octopus, blueprint style"


def test_no_round_changes_what_is_ordered(
    make_settings: Callable[..., Settings], mood: Callable[[float], Path]
) -> None:
    settings = make_settings(base=f"world:{mood(-3)}", rounds=4)
    with Context.open(settings) as ctx:
        free = generate(PROMPT, context=ctx, compare=False)
        assert len({r.seed for r in free.rounds}) > 1
        said: dict[str, Any] = {"seed": 7, "method": "ties", "steps": 3, "experts": ["sea-life:0.6"]}
        held = generate(PROMPT, context=ctx, compare=False, **said)
        assert len(held.rounds) > 1  # the other expert's weight is free
        for one in held.rounds:
            drawn = ctx.load_plan(one.plan_id)
            assert (drawn.seeds, drawn.method.name, drawn.sampler.steps) == ((7,), "ties", 3)
            assert {e.id: e.weight for e in drawn.experts}["world/sea-life"] == 0.6
        said["experts"] = {"sea-life": 0.6, "blueprint": 0.9}
        fixed = generate(PROMPT, context=ctx, compare=False, **said)
        assert (len(fixed.rounds), "nothing else to try" in " ".join(fixed.notes)) == (1, True)


def test_an_image_that_is_good_enough_is_accepted_though_nothing_else_may_be_tried(
    make_settings: Callable[..., Settings],
) -> None:
    with Context.open(make_settings(accept=0.0, sure=1.0)) as ctx:
        assert generate("pizza", context=ctx, seed=3, compare=False).status == "accepted"


def test_orders_stand_in_the_folder_and_on_the_page(ctx: Context) -> None:
    orders = Orders(steps=3, seed=5)
    done = generate("octopus, seed 1 BREAK", context=ctx, compare=False, orders=orders, size="portrait")
    assert done.plan is not None
    assert (done.plan.seeds, done.plan.sampler.steps) == ((5,), 3)
    asked = json.loads((done.run_dir / "run.json").read_text())
    assert (asked["orders"], asked["seed"], asked["n"]) == ({"seed": 5, "steps": 3, "aspect": [3, 4]}, 5, 1)
    told = json.loads((done.run_dir / "result.json").read_text())
    assert {"steps", "seed", "aspect"} <= set(told["orders"])
    assert [one["text"] for one in told["unmet"]] == ["BREAK", "size 3:4"]
    page = done.page.read_text()
    for piece in ("What was ordered", "<td>3:4</td>", "not obeyed", "BREAK"):
        assert piece in page
    assert read_plan(done.images[0]).sampler.steps == 3
    assert resume(done.run_dir, context=ctx).orders == done.orders


def test_orders_survive_an_interruption(ctx: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(event: Any) -> None:
        if event.kind == "merged":
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        generate("octopus", context=ctx, compare=False, out=out, seed=9, steps=4, n=2, on_event=stop)
    done = resume(out, context=ctx)
    assert done.plan is not None
    assert (done.plan.seeds, done.plan.sampler.steps, len(done.images)) == ((9, 10), 4, 2)


def test_so_many_images_as_the_prompt_says_unless_a_number_is_given(ctx: Context) -> None:
    found = plan("3 images of an octopus, seed 4", context=ctx)
    assert found.plan is not None
    assert (found.plan.seeds, found.unmet) == ((4, 5, 6), ())
    one = plan("3 images of an octopus", n=1, context=ctx).plan
    assert one is not None
    assert one.seeds == (0,)


def test_what_is_not_there_is_told_before_a_folder_is_made(ctx: Context) -> None:
    for said in ({"experts": ["sealife2"]}, {"method": "tis"}, {"steps": 0}, {"size": "big"}):
        with pytest.raises(UserError):
            generate("octopus", context=ctx, **said)  # type: ignore[arg-type]
    assert not (ctx.settings.root / "runs").exists()
    with pytest.raises(UserError, match="open another"):
        runs.plan("octopus", context=ctx, base="elsewhere")


# -- a plan at hand


def test_an_edited_plan_is_drawn(ctx: Context, tmp_path: Path) -> None:
    made = plan("octopus", context=ctx, steps=2, n=2).plan
    assert made is not None
    edited = made.model_copy(update={"prompt": "octopus, whale"})
    edited.save(tmp_path / "plan.json")
    done = render_plan(tmp_path / "plan.json", settings=ctx.settings, out=tmp_path / "out")
    assert [path.name for path in done.images] == ["image_0.png", "image_1.png"]
    assert (read_plan(done.images[0]), MergePlan.load(tmp_path / "out" / "plan.json")) == (edited, edited)
    again = render_plan(done.images[1], settings=ctx.settings, seed=1, n=1)
    assert (again.plan.seeds, again.run_dir.parent.name) == ((1,), "runs")
    with Image.open(again.images[0]) as one, Image.open(done.images[1]) as other:
        assert one.tobytes() == other.tobytes()
    later = render_plan(edited, settings=ctx.settings, out=tmp_path / "out", n=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["image_0.png", "plan.json"]
    assert later.to_json()["plan_id"] == later.plan.plan_id


def test_a_plan_that_cannot_be_drawn_says_all_that_is_wrong(ctx: Context, tmp_path: Path) -> None:
    made = plan("octopus", context=ctx, steps=2).plan
    assert made is not None
    (expert,) = made.experts
    other = made.model_copy(update={"base": made.base.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(UserError, match=r"not known here; the base in force is .* diffgraph base add"):
        render_plan(other, settings=ctx.settings)
    lost = made.model_copy(update={"experts": (expert.model_copy(update={"sha256": "0" * 64}),)})
    with pytest.raises(PlanError, match="is not here"):
        render_plan(lost, settings=ctx.settings)
    odd = made.model_copy(update={"method": made.method.model_copy(update={"name": "tis"})})
    with pytest.raises(PlanError, match="ties"):
        render_plan(odd, settings=ctx.settings)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="new or empty folder"):
        render_plan(made, settings=ctx.settings, out=tmp_path)
    with pytest.raises(PlanError, match="cannot read the plan"):
        render_plan(tmp_path / "gone.json", settings=ctx.settings)


@pytest.mark.parametrize(
    ("n", "seed", "seeds"),
    [
        (None, None, (3, 8)),
        (1, None, (3,)),
        (4, None, (3, 8, 9, 10)),
        (None, 5, (5, 6)),
        (3, 2**32 - 1, (2**32 - 1, 0, 1)),
    ],
)
def test_seeds_of_a_plan_at_hand(ctx: Context, n: int | None, seed: int | None, seeds: tuple[int, ...]) -> None:
    made = MergePlan(base=ctx.machinery.base, prompt="x", seeds=(3, 8))
    assert with_seeds(made, n, seed).seeds == seeds


def test_text_that_the_base_does_not_write_is_set_aside(ctx: Context) -> None:
    found = plan('a crab that says "hello", as pixel art', context=ctx)
    assert [(p.kind, p.text) for p in found.aside] == [("quoted", '"hello"')]
    assert "writes no text" in found.aside[0].why
