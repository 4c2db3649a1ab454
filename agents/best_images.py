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


def kept(rounds: Sequence[Round], n: int) -> list[tuple[int, RoundImage]]:
    """For each slot the number of the round (from 0) whose image is its answer, and that image's entry there.

    It is the highest score's, the earlier one on a tie; but an image that a brain sent back gives way to a later one
    that it was content with.
    """
    best: dict[int, tuple[int, RoundImage]] = {}
    for number, this in enumerate(rounds):
        for image in this.images:
            before = best.get(image.slot)
            content = this.decision != "revise"
            if before is None or image.score > before[1].score or (content and rounds[before[0]].sent_back):
                best[image.slot] = (number, image)
    return [best[slot] for slot in range(n)]


def leading(rounds: Sequence[Round], n: int) -> int:
    """The round that most of the answer comes from, the earlier one on a tie."""
    numbers = [number for number, _ in kept(rounds, n)]
    return max(dict.fromkeys(sorted(numbers)), key=numbers.count)


def weak(rounds: Sequence[Round], n: int, accept: float) -> list[int]:
    """Slots without an image that scores at least ``accept``."""
    return [slot for slot, (_, image) in enumerate(kept(rounds, n)) if image.score < accept]


def unsure(rounds: Sequence[Round], n: int, accept: float, sure: float) -> list[int]:
    """Slots to draw again: those under ``accept``, and those under ``sure`` whose best image is the last one drawn.

    What is good enough gets another try, and one more for as long as that brings a better image.
    """
    out = []
    for slot in range(n):
        *before, last = [image.score for this in rounds for image in this.images if image.slot == slot]
        best = max([*before, last])
        if best < accept or (best < sure and last > max(before, default=-1.0)):
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
