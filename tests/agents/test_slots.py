"""Several images of one request: what is drawn again and what is kept."""

from typing import Any

from diffgraph.agents import slots


def _round(decision: str, *images: tuple[int, int, float]) -> Any:
    return {
        "decision": decision,
        "images": [{"slot": s, "seed": seed, "score": p, "facets": {"octopus": p}} for s, seed, p in images],
    }


def test_every_slot_keeps_its_best_image_and_only_the_weak_ones_stay_open() -> None:
    rounds = [_round("revise", (0, 5, 0.9), (1, 6, 0.3), (2, 7, 0.2)), _round("revise", (1, 16, 0.85), (2, 17, 0.1))]
    assert [(number, image["seed"]) for number, image in slots.kept(rounds, 3)] == [(0, 5), (1, 16), (0, 7)]
    assert slots.weak(rounds, 3, 0.8) == [2]
    assert slots.leading(rounds, 3) == 0


def test_an_accepted_round_gives_the_answer_even_below_an_image_that_was_sent_back() -> None:
    rounds = [_round("revise", (0, 5, 0.95)), _round("accept", (0, 6, 0.85))]
    assert slots.kept(rounds, 1)[0][1]["seed"] == 6
    assert slots.leading(rounds, 1) == 1


def test_the_earlier_image_wins_a_tie() -> None:
    assert slots.kept([_round("revise", (0, 5, 0.5)), _round("revise", (0, 6, 0.5))], 1)[0][0] == 0


def test_all_slots_are_open_at_first() -> None:
    assert slots.open_slots({"n": 3}) == [0, 1, 2]
    assert slots.open_slots({"n": 3, "open": [1]}) == [1]


def test_the_answers_score_is_the_mean_of_its_images() -> None:
    images = [{"score": 0.5, "facets": {"a": 0.5, "b": 1.0}}, {"score": 0.9, "facets": {"a": 0.8, "b": 1.0}}]
    whole = slots.gathered("plan", images)
    assert whole["score"] == 0.7
    assert whole["facets"] == {"a": 0.65, "b": 1.0}
    assert whole["images"] == images
