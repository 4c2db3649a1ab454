"""A request reads each plan once, and merges each plan that it draws once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffgraph.agents.runs.generate import generate, resume
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.settings import Settings
from diffgraph.tools.context import Context


class Counted:
    """How often each plan was read, merged, and merged by which request."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.reads: Counter[str] = Counter()
        self.merges: Counter[str] = Counter()
        load, apply = MergePlan.load.__func__, Engine.apply  # type: ignore[attr-defined]

        def loads(cls: type[MergePlan], path: Path) -> MergePlan:
            plan: MergePlan = load(cls, path)
            self.reads[plan.plan_id] += 1
            return plan

        def applies(engine: Engine, plan: MergePlan, *args: Any, **kwargs: Any) -> Any:
            self.merges[plan.plan_id] += 1
            return apply(engine, plan, *args, **kwargs)

        patch.setattr(MergePlan, "load", classmethod(loads))
        patch.setattr(Engine, "apply", applies)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_a_request_with_comparisons(ctx: Context, counted: Counted) -> None:
    result = generate("octopus, blueprint style", n=2, seed=3, context=ctx)
    assert result.plan is not None
    assert counted.reads == {result.plan.plan_id: 1}
    drawn = {result.plan.plan_id, *(c.plan_id for c in result.comparison)}
    assert len(drawn) == 4
    assert counted.merges == dict.fromkeys(drawn, 1)
    generate("octopus, blueprint style", n=2, seed=3, context=ctx)
    assert counted.reads == {result.plan.plan_id: 2}  # another request reads it anew, and holds it against its id
    assert counted.merges == dict.fromkeys(drawn, 1)  # its images were kept


def test_every_round_has_a_plan_of_its_own(
    mood: Callable[..., Path], make_settings: Callable[..., Settings], counted: Counted
) -> None:
    with Context.open(make_settings(base=f"world:{mood(-1.0, 2.0)}", rounds=2)) as ctx:
        result = generate("octopus, blueprint style", context=ctx, compare=False)
    plans = [r.plan_id for r in result.rounds]
    assert len(plans) == 3
    assert counted.reads == counted.merges == dict.fromkeys(plans, 1)


def test_a_process_that_comes_between_merge_and_sample_merges_again(
    make_settings: Callable[..., Settings], counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()

    def stops(event: Any) -> None:
        if event.kind == "merged":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate("octopus", settings=settings, on_event=stops, compare=False)
    (run_dir,) = (settings.root / "runs").iterdir()
    result = resume(run_dir, settings=settings)
    assert result.status == "accepted"
    assert result.plan is not None
    assert counted.merges[result.plan.plan_id] == 2


def test_the_engine_merges_again_what_another_plan_took_away(ctx: Context, counted: Counted) -> None:
    first = generate("octopus, blueprint style", context=ctx, compare=False)
    generate("octopus, starry night background", context=ctx, compare=False)
    assert first.plan is not None
    kept = ctx.images_dir(first.plan.plan_id) / f"{first.plan.seeds[0]}.png"
    before = kept.read_bytes()
    kept.unlink()
    again = generate("octopus, blueprint style", context=ctx, compare=False)
    assert again.images[0].read_bytes() == before
    assert counted.merges[first.plan.plan_id] == 2
