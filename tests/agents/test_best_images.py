"""Several images of one request: what is drawn again and what is kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from diffgraph.agents import best_images
from diffgraph.agents import machine as machine_module
from diffgraph.agents.brains.offline import OfflineBrain
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.runs.result import RunResult
from diffgraph.agents.state import AnswerImage, Round, RoundImage, State
from diffgraph.merging.sampling.png_record import read_png
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.results import CriticDecision, ScoredImage, Scores


def _image(slot: int, seed: int, score: float, **facets: float) -> RoundImage:
    return RoundImage(slot=slot, seed=seed, score=score, facets=facets or {"octopus": score})


def _round(decision: Any, *images: tuple[int, int, float] | RoundImage, **changes: Any) -> Round:
    made = tuple(i if isinstance(i, RoundImage) else _image(*i) for i in images)
    plan = {"plan_id": "p", "method": "linear", "guidance": 1.0, "unsaid": "", "seed": 0, "experts": (), "findings": ()}
    return Round(**plan | {"score": 0.5, "facets": {}, "decision": decision, "images": made} | changes)


def test_every_slot_keeps_its_best_image_and_only_the_weak_ones_stay_open() -> None:
    rounds = [_round("revise", (0, 5, 0.9), (1, 6, 0.3), (2, 7, 0.2)), _round("revise", (1, 16, 0.85), (2, 17, 0.1))]
    assert [(number, image.seed) for number, image in best_images.kept(rounds, 3)] == [(0, 5), (1, 16), (0, 7)]
    assert best_images.weak(rounds, 3, 0.8) == [2]
    assert best_images.leading(rounds, 3) == 0


def test_an_accepted_round_gives_the_answer_even_below_an_image_that_was_sent_back() -> None:
    rounds = [_round("revise", (0, 5, 0.95), sent_back=True), _round("accept", (0, 6, 0.85))]
    assert best_images.kept(rounds, 1)[0][1].seed == 6
    assert best_images.leading(rounds, 1) == 1


def test_an_image_that_was_sent_back_gives_way_though_another_slot_goes_on() -> None:
    """Slot 1 is tried once more after both would do: that must not bring slot 0's first image back."""
    first = _round("revise", (0, 5, 0.9), (1, 6, 0.9), sent_back=True)
    rounds = [first, _round("again", (0, 15, 0.85), (1, 16, 0.92)), _round("accept", (1, 26, 0.8))]
    assert [(number, image.seed) for number, image in best_images.kept(rounds, 2)] == [(1, 15), (1, 16)]


def test_a_second_try_that_is_worse_does_not_take_the_place_of_the_first() -> None:
    rounds = [_round("revise", (0, 5, 0.9)), _round("accept", (0, 6, 0.85))]
    assert best_images.kept(rounds, 1)[0][1].seed == 5


def test_what_is_good_enough_is_tried_for_as_long_as_that_helps() -> None:
    first = _round("revise", (0, 5, 0.9), (1, 6, 0.96), (2, 7, 0.5), (3, 8, 0.85))
    assert best_images.unsure([first], 4, 0.8, 0.95) == [0, 2, 3]
    second = _round("revise", (0, 15, 0.9), (2, 17, 0.7), (3, 18, 0.9))
    assert best_images.unsure([first, second], 4, 0.8, 0.95) == [2, 3]
    third = _round("revise", (2, 27, 0.81), (3, 28, 0.89))
    assert best_images.unsure([first, second, third], 4, 0.8, 0.95) == [2]
    assert best_images.unsure([first, second, third], 4, 0.8, 0.8) == []
    assert best_images.unsure([first], 4, 0.8, 0.8) == best_images.weak([first], 4, 0.8) == [2]


def test_an_image_that_lacks_something_will_not_do() -> None:
    lacking = _image(0, 5, 0.9).model_copy(update={"lacks": ("hat",)})
    assert not best_images.good(lacking, 0.8)
    assert best_images.good(_image(0, 5, 0.9), 0.8)
    assert best_images.weak([_round("revise", lacking)], 1, 0.8) == [0]


def test_the_critics_eye_decides_between_two_that_are_alike() -> None:
    weak, strong = _image(0, 5, 0.81), _image(0, 6, 0.9)
    lacking = _image(0, 7, 0.95).model_copy(update={"lacks": ("hat",)})
    assert not best_images.replaces(weak, strong, None, 0.8)
    assert best_images.replaces(weak, strong, 0.7, 0.8)
    assert not best_images.replaces(strong, weak, 0.3, 0.8)
    assert best_images.replaces(strong, weak, 0.5, 0.8)
    assert best_images.replaces(weak, lacking, None, 0.8)
    assert not best_images.replaces(lacking, weak, 0.9, 0.8)


def test_what_was_preferred_stays_the_best_whatever_its_score() -> None:
    chosen = _image(0, 6, 0.85).model_copy(update={"preferred": 0.8, "better": True})
    worse = _image(0, 7, 0.95).model_copy(update={"preferred": 0.2, "better": False})
    rounds = [_round("revise", (0, 5, 0.9)), _round("revise", chosen), _round("accept", worse)]
    assert best_images.kept(rounds, 1)[0][1].seed == 6
    assert best_images.unsure(rounds[:2], 1, 0.8, 0.95) == [0]
    assert best_images.unsure(rounds, 1, 0.8, 0.95) == []


def test_another_image_is_drawn_where_it_is_expected_to_gain_what_it_costs() -> None:
    """By hand: one try at 0.9 leaves 0.1; the next is better with chance 1/2, by half of that: 0.025."""
    assert best_images.expected_gain(1, 0.9) == pytest.approx(0.025)
    assert best_images.expected_gain(4, 0.8) == pytest.approx(0.02)
    first = _round("again", (0, 5, 0.9), (1, 6, 0.95))
    assert best_images.worth_drawing([first], 2, 0.02) == [0]
    second = _round("again", (0, 15, 0.85))
    assert best_images.worth_drawing([first, second], 2, 0.02) == []
    assert best_images.worth_drawing([first, second], 2, 0.01) == [0, 1]
    lacking = _image(0, 5, 0.97).model_copy(update={"lacks": ("hat",)})
    assert best_images.worth_drawing([_round("revise", lacking)], 1, 0.02) == [0]


def test_the_earlier_image_wins_a_tie() -> None:
    assert best_images.kept([_round("revise", (0, 5, 0.5)), _round("revise", (0, 6, 0.5))], 1)[0][0] == 0


def test_a_planner_is_told_what_is_weak_where_it_is_weak() -> None:
    """Three images lack their style a little, the one to mend lacks its subject: the mean would blame the style."""
    good = [_image(s, s, 0.85, octopus=0.95, neon=0.75) for s in range(3)]
    bad = _image(3, 3, 0.4, octopus=0.3, neon=0.8)
    this = _round("revise", *good, bad, facets={"octopus": 0.7875, "neon": 0.7625}, score=0.7375)
    (told,) = best_images.to_mend([this], 0.8)
    assert told == this.model_copy(update={"facets": {"octopus": 0.3, "neon": 0.8}})
    (told,) = best_images.to_mend([this.model_copy(update={"images": tuple(good)})], 0.8)
    assert told.facets == {"octopus": 0.95, "neon": 0.75}


def test_all_slots_are_open_at_first() -> None:
    assert best_images.open_slots(State(n=3)) == [0, 1, 2]
    assert best_images.open_slots(State(n=3, open=(1,))) == [1]


def test_the_answers_score_is_the_mean_of_its_images() -> None:
    facts: dict[str, Any] = {"seed": 0, "findings": (), "plan_id": "plan", "round": 1}
    images = [
        AnswerImage(score=0.5, facets={"a": 0.5, "b": 1.0}, **facts),
        AnswerImage(score=0.9, facets={"a": 0.8, "b": 1.0}, **facts),
    ]
    whole = best_images.gathered("plan", images)
    assert whole.score == 0.7
    assert whole.facets == {"a": 0.65, "b": 1.0}
    assert whole.images == tuple(images)


def test_only_images_under_the_mark_are_drawn_again(
    mood: Callable[..., Path], make_settings: Callable[..., Settings]
) -> None:
    prompt, world = "octopus, blueprint style", mood(7.0, 0.5)
    first = generate(prompt, n=3, settings=make_settings(base=f"world:{world}", rounds=0), compare=False)
    assert first.scores is not None
    scores = [image.score for image in first.scores.images]
    weakest, second, _ = sorted(scores)
    settings = make_settings(base=f"world:{world}", rounds=1, accept=(weakest + second) / 2, sure=0)
    result = generate(prompt, n=3, settings=settings, compare=False)
    again = scores.index(weakest)
    assert [[image.slot for image in r.images] for r in result.rounds] == [[0, 1, 2], [again]]
    assert len(result.images) == 3
    assert result.scores is not None
    for slot, (image, path) in enumerate(zip(result.scores.images, result.images, strict=True)):
        drawn = [i for r in result.rounds for i in r.images if i.slot == slot]
        assert image.score == max(i.score for i in drawn)
        assert path.name == f"image_{image.seed}.png"
        plan = read_png(path).plan
        assert plan is not None
        assert plan.plan_id == image.plan_id == result.rounds[image.round - 1].plan_id
    assert result.scores.score >= first.scores.score
    page, rounds = result.page.read_text(encoding="utf-8"), [image.round for image in result.scores.images]
    several = len(set(rounds)) > 1
    assert ("The merge plan of round 1" in page) == several
    assert all(f"({rounds.count(number)} of 3 taken)" in page for number in set(rounds))
    assert (f", round {rounds[0]}" in page) == several


def test_one_bad_image_among_good_ones_is_not_accepted(ctx: Context) -> None:
    """The mean does not hide it, whatever the brain says."""
    done = generate("pizza", context=ctx, n=2, compare=False)
    assert done.plan is not None
    node = machine_module.Critic(ctx, OfflineBrain()).critic

    def leads_to(weakest: float) -> Any:
        return node(_judged(done, ((0, 1.0), (1, weakest)), "accept", ())).goto

    assert leads_to(0.7) == "planner"
    assert leads_to(0.8) == "record"


def _judged(done: RunResult, images: Sequence[tuple[int, float]], decision: Any, rounds: Sequence[Round]) -> State:
    """The state after the critic's verdict on (seed, score) of images of a pizza."""
    assert done.plan is not None
    scored = tuple(ScoredImage(seed=seed, score=p, facets={"pizza": p}, findings=()) for seed, p in images)
    mean = sum(p for _, p in images) / len(images)
    return State(
        plan_id=done.plan.plan_id,
        scores=Scores(plan_id=done.plan.plan_id, score=mean, facets={"pizza": mean}, images=scored),
        activation=done.activation,
        n=len(images),
        verdict=CriticDecision(decision=decision),
        rounds=tuple(rounds),
    )


def _critic(ctx: Context, *, rounds: Sequence[Round], score: float, decision: str) -> Any:
    """What the critic's node makes of one more image of a pizza."""
    done = generate("pizza", context=ctx, n=1, compare=False)
    assert done.plan is not None
    state = _judged(done, [(done.plan.seeds[0], score)], decision, rounds)
    return machine_module.Critic(ctx, OfflineBrain()).critic(state)


def test_an_image_that_is_good_enough_gets_another_try(make_settings: Callable[..., Settings]) -> None:
    """And is the answer where that brings nothing, though the last image alone would have been sent back."""
    with Context.open(make_settings(sure=0.95)) as ctx:
        step = _critic(ctx, rounds=[], score=0.9, decision="accept")
        assert (step.goto, step.update.open) == ("planner", (0,))
        (first,) = step.update.rounds
        assert (first.decision, first.sent_back) == ("again", False)
        step = _critic(ctx, rounds=[first], score=0.92, decision="accept")
        assert step.goto == "planner"
        told: list[str] = []
        step = _critic(
            ctx.with_emit(lambda event: told.append(event.text)), rounds=[first], score=0.6, decision="revise"
        )
        assert told[-1] == "round 2: score 0.60: no better, what was there before is accepted"
        assert step.goto == "record"
        assert (step.update.rounds[-1].decision, step.update.best) == ("accept", 0)
        assert _critic(ctx, rounds=[], score=0.96, decision="accept").goto == "record"
    with Context.open(make_settings(sure=0.95, rounds=0)) as ctx:
        step = _critic(ctx, rounds=[], score=0.9, decision="accept")
        assert (step.goto, step.update.rounds[-1].decision) == ("record", "accept")


def test_what_a_brain_sent_back_is_not_accepted_by_a_worse_try(ctx: Context) -> None:
    (first,) = _critic(ctx, rounds=[], score=0.9, decision="revise").update.rounds
    assert first.sent_back
    assert _critic(ctx, rounds=[first], score=0.6, decision="revise").goto == "planner"
    step = _critic(ctx, rounds=[first], score=0.85, decision="accept")
    assert (step.goto, step.update.best) == ("record", 1)
