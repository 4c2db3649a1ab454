"""The images that a request asks for: which are still to be drawn, and the best of each over all rounds.

Each has a slot, its number (from 0) among them. A round draws the open slots only. An image that was good enough stays,
whatever a later round does.
"""

from __future__ import annotations

from collections.abc import Sequence

from .state import AnswerImage, AnswerScores, Round, RoundImage, State


def open_slots(state: State) -> list[int]:
    """The slots that the next round draws, in order; all at first."""
    return list(state.open or range(state.n))


def good(image: RoundImage, accept: float) -> bool:
    """Whether an image will do: its score reaches ``accept``, and it lacks nothing that was asked for."""
    return image.score >= accept and not image.lacks


def kept(rounds: Sequence[Round], n: int) -> list[tuple[int, RoundImage]]:
    """For each slot the number of the round (from 0) whose image is its answer, and that image's entry there.

    It is the best one so far (`replaces`); without such a word the highest score's, the earlier one on a tie; but an
    image that a brain sent back gives way to a later one that it was content with.
    """
    best: dict[int, tuple[int, RoundImage]] = {}
    for number, this in enumerate(rounds):
        for image in this.images:
            before = best.get(image.slot)
            content = this.decision != "revise"
            if before is None or _is_better(image, before[1]) or (content and rounds[before[0]].sent_back):
                best[image.slot] = (number, image)
    return [best[slot] for slot in range(n)]


def _is_better(image: RoundImage, before: RoundImage) -> bool:
    return image.score > before.score if image.better is None else image.better


def replaces(candidate: RoundImage, incumbent: RoundImage, preferred: float | None, accept: float) -> bool:
    """Whether an image takes the place of the best one so far: one that will do, that of one that will not; of two
    alike the one that the critic prefers when it is shown both (``preferred``), else the higher score.
    """
    will, did = good(candidate, accept), good(incumbent, accept)
    if will != did:
        return will
    if preferred is not None and preferred != 0.5:
        return preferred > 0.5
    return candidate.score > incumbent.score


def expected_gain(tries: int, best: float) -> float:
    """What one more image is expected to add to the best score of ``tries`` images.

    Of images drawn alike each is the best with the same chance, so the next one is with 1 / (tries + 1), whatever the
    scores are distributed like; and one that is better lies between the best and 1, in the middle on average.
    """
    return (1.0 - best) / 2.0 / (tries + 1)


def worth_drawing(rounds: Sequence[Round], n: int, cost: float) -> list[int]:
    """Slots to draw again by cost: those where another image is expected to gain at least ``cost``."""
    out = []
    for slot, (_, image) in enumerate(kept(rounds, n)):
        tries = sum(one.slot == slot for this in rounds for one in this.images)
        if expected_gain(tries, 0.0 if image.lacks else image.score) >= cost:
            out.append(slot)
    return out


def leading(rounds: Sequence[Round], n: int) -> int:
    """The round that most of the answer comes from, the earlier one on a tie."""
    numbers = [number for number, _ in kept(rounds, n)]
    return max(dict.fromkeys(sorted(numbers)), key=numbers.count)


def weak(rounds: Sequence[Round], n: int, accept: float) -> list[int]:
    """Slots without an image that will do (`good`)."""
    return [slot for slot, (_, image) in enumerate(kept(rounds, n)) if not good(image, accept)]


def unsure(rounds: Sequence[Round], n: int, accept: float, sure: float) -> list[int]:
    """Slots to draw again as it was measured to pay on the embedded world: those without an image that will do, and
    those under ``sure`` whose best image is the last one drawn.

    What is good enough gets another try, and one more for as long as that brings a better image.
    """
    out = []
    for slot in range(n):
        *before, last = [image for this in rounds for image in this.images if image.slot == slot]
        best = max(image.score for image in [*before, last])
        improved = last.score > max((i.score for i in before), default=-1.0) if last.better is None else last.better
        if not any(good(image, accept) for image in [*before, last]) or (best < sure and improved):
            out.append(slot)
    return out


def to_mend(rounds: Sequence[Round], accept: float) -> tuple[Round, ...]:
    """The rounds as a planner reads them: each facet's mean over the images under ``accept``, which are the ones to
    mend; over all where none is.
    """
    out: list[Round] = []
    for this in rounds:
        images = [image for image in this.images if image.score < accept] or list(this.images)
        out.append(this.model_copy(update={"facets": _means(images)}) if images else this)
    return tuple(out)


def gathered(plan_id: str, images: Sequence[AnswerImage]) -> AnswerScores:
    """What the critic says of the answer's images together."""
    return AnswerScores(
        plan_id=plan_id,
        score=round(sum(image.score for image in images) / len(images), 4),
        facets=_means(images),
        images=tuple(images),
    )


def _means(images: Sequence[RoundImage] | Sequence[AnswerImage]) -> dict[str, float]:
    return {t: round(sum(image.facets[t] for image in images) / len(images), 4) for t in images[0].facets}
