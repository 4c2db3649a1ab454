"""Reference prompts: a small, diverse set on which every expert is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..embedding import Embedder
from ..experts.expert import Expert, Frozen


class ReferencePrompt(Frozen):
    """One reference prompt; ``wanted`` maps a facet to the text that the image must show; empty: all that its text
    asks for.
    """

    id: str
    text: str
    wanted: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, text: str, wanted: dict[str, str] | None = None) -> ReferencePrompt:
        """A prompt whose id is made from its text."""
        return cls(id=hashlib.sha256(text.encode()).hexdigest()[:16], text=text, wanted=wanted or {})


@cache
def pool() -> tuple[ReferencePrompt, ...]:
    """Prompts for bases of open vocabulary: what every such base draws. What each wants is split off its text."""
    lines = (files(__package__) / "pool.txt").read_text(encoding="utf-8").splitlines()
    return tuple(ReferencePrompt.of(line.strip()) for line in lines if line.strip() and not line.startswith("#"))


def farthest_points(vectors: NDArray[np.float32], n: int) -> list[int]:
    """Indices of ``n`` rows spread as widely as a greedy choice can (Gonzalez 1985, k-center, factor 2 of the optimum).

    Starts with the row nearest the mean; then always the row farthest from all chosen ones. Ties go to the lower index.

    Args:
        vectors: ``(rows, dim)``, unit length.
        n: how many; all rows if there are fewer.
    """
    rows = len(vectors)
    if rows == 0 or n <= 0:
        return []
    chosen = [int(np.argmax(vectors @ vectors.mean(0)))]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < min(n, rows):
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def choose(prompts: Sequence[ReferencePrompt], n: int, embedder: Embedder) -> list[ReferencePrompt]:
    """The ``n`` most diverse of ``prompts``, in order of choice."""
    unique = list({p.id: p for p in prompts}.values())
    return [unique[i] for i in farthest_points(embedder.embed([p.text for p in unique]), n)]


def from_pool(n: int, embedder: Embedder) -> list[ReferencePrompt]:
    """The ``n`` most diverse prompts of `pool`."""
    return choose(pool(), n, embedder)


def from_base(base: Expert, n: int, embedder: Embedder) -> list[ReferencePrompt]:
    """``n`` diverse subjects that the base itself can draw, so that an expert's effect is told apart from the
    base's.
    """
    subjects = [s for s in base.skills if s.facet == "subject"]
    return choose([ReferencePrompt.of(s.trigger, {"subject": s.name}) for s in subjects], n, embedder)
