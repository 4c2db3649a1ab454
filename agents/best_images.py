"""The images that a request asks for, one slot each: which are still open, and the best of each over all rounds.

A round draws the open slots only. An image that was good enough stays, whatever a later round does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .state import Round, State


def open_slots(state: State) -> list[int]:
    """The slots that the next round draws, in order; all at first."""
    return list(state.get("open") or range(state.get("n", 1)))


def kept(rounds: Sequence[Round], n: int) -> list[tuple[int, dict[str, Any]]]:
    """For each slot the number of the round (from 0) whose image is its answer, and that image's entry there.

    It is the highest score's, the earlier one on a tie; but an image that a brain sent back gives way to a later one
    that it was content with.
    """
    best: dict[int, tuple[int, dict[str, Any]]] = {}
    for number, this in enumerate(rounds):
        for image in this["images"]:
            before = best.get(image["slot"])
            content = this["decision"] != "revise"
            if before is None or image["score"] > before[1]["score"] or (content and sent_back(rounds[before[0]])):
                best[image["slot"]] = (number, image)
    return [best[slot] for slot in range(n)]


def sent_back(this: Round) -> bool:
    """Whether a brain was not content with images that are all good enough by their scores."""
    return this.get("sent_back", False)


def leading(rounds: Sequence[Round], n: int) -> int:
    """The round that most of the answer comes from, the earlier one on a tie."""
    numbers = [number for number, _ in kept(rounds, n)]
    return max(dict.fromkeys(sorted(numbers)), key=numbers.count)


def weak(rounds: Sequence[Round], n: int, accept: float) -> list[int]:
    """Slots without an image that scores at least ``accept``."""
    return [slot for slot, (_, image) in enumerate(kept(rounds, n)) if image["score"] < accept]


def unsure(rounds: Sequence[Round], n: int, accept: float, sure: float) -> list[int]:
    """Slots to draw again: those under ``accept``, and those under ``sure`` whose best image is the last one drawn.

    What is good enough gets another try, and one more for as long as that brings a better image.
    """
    out = []
    for slot in range(n):
        *before, last = [image["score"] for this in rounds for image in this["images"] if image["slot"] == slot]
        best = max([*before, last])
        if best < accept or (best < sure and last > max(before, default=-1.0)):
            out.append(slot)
    return out


def to_mend(rounds: Sequence[Round], accept: float) -> list[Round]:
    """The rounds as a planner reads them: each facet's mean over the images under ``accept``, which are the ones to
    mend; over all where none is.
    """
    out: list[Round] = []
    for this in rounds:
        images = [image for image in this["images"] if image["score"] < accept] or this["images"]
        out.append({**this, "facets": _means(images) if images else this["facets"]})
    return out


def gathered(plan_id: str, images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the critic says of the answer's images together, as ``score_images`` says it of a plan's."""
    return {
        "plan_id": plan_id,
        "score": round(sum(image["score"] for image in images) / len(images), 4),
        "facets": _means(images),
        "images": list(images),
    }


def _means(images: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {t: round(sum(image["facets"][t] for image in images) / len(images), 4) for t in images[0]["facets"]}
