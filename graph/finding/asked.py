"""A prompt as the index is asked: its terms with their weights, and the runs of them that may be names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .rarity import Rarity
from .terms import squashed, terms, words_of_prompt

LONGEST_NAME = 6
"""Words in the longest name that is looked for."""
_SCALE = 10.0


@dataclass(frozen=True)
class Asked:
    """A prompt, read. ``rarity`` says how rare each term is among prompts."""

    prompt: str
    rarity: Rarity

    @cached_property
    def terms(self) -> tuple[str, ...]:
        return terms(words_of_prompt(self.prompt))

    @cached_property
    def weights(self) -> dict[str, float]:
        """Each term -> what it weighs: its rarity squared, so that few rare words outweigh many common ones."""
        return {term: self.rarity(term) ** 2 / _SCALE for term in dict.fromkeys(self.terms)}

    def weight_of(self, words: Sequence[str]) -> float:
        """What a run of terms weighs."""
        return sum(self.weights.get(word, 0.0) for word in words)

    @cached_property
    def runs(self) -> frozenset[tuple[str, ...]]:
        """All runs of up to `LONGEST_NAME` terms."""
        t = self.terms
        return frozenset(t[a : a + n] for a in range(len(t)) for n in range(1, LONGEST_NAME + 1) if a + n <= len(t))

    @cached_property
    def names(self) -> dict[str, float]:
        """Runs of terms written as one -> what they weigh."""
        found: dict[str, float] = {}
        for run in self.runs:
            key = squashed("".join(run))
            if key:
                found[key] = max(found.get(key, 0.0), self.weight_of(run))
        return found
