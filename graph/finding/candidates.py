"""From a prompt to the experts that it may be asking for, ranked: a wide first look, then every witness weighed.

The first look takes in who says a rare word of the prompt, who is called by a run of its words, whose name is spelt
nearly so, who is alike in meaning, and who is kin to those with example prompts like it. What they say is then made
into evidence, and one set of weights (`ranking`) makes it a score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import JaroWinkler

from . import evidence, ranking
from .asked import Asked
from .index import Found, WordIndex
from .kin import kin_of
from .rarity import Rarity
from .reasons import reasons
from .terms import words_of_prompt

LOOKED_AT = 120
"""So many experts that say words of the prompt are weighed with care."""
_PER_WORD = 200
_NAMED_MOST = 50
_ALIKE_MOST = 30
_MOST_WORDS = 40
_RARE = 2.0
"""Rarity from which a word is looked up; below it stands in one prompt of eight."""
_MISSPELT_FROM = 5.5
_ALIKE = 0.88
_MOST_MISSPELT = 10
_PER_SPELLING = 60
_IN_NAMES = ("trigger", "title", "file", "tag")
_WHOLE = 600


class Findable(Protocol):
    """What of the graph finding needs."""

    @property
    def words(self) -> WordIndex: ...

    def nearest(self, text: str, family: str, k: int) -> list[str]:
        """The ``k`` experts nearest in meaning to a text, nearest first."""
        ...

    def cosines(self, text: str, family: str, ids: Sequence[str]) -> Mapping[str, float]:
        """How alike in meaning certain experts are to a text."""
        ...


@dataclass(frozen=True)
class Candidate:
    """An expert that a prompt may be asking for.

    Attributes:
        score: for ranking only.
        chance: how likely a person who typed the prompt would have taken it, 0..1.
        why: what speaks for it, the strongest first.
        called: whether the prompt says its trigger, its name or the like whole.
    """

    id: str
    score: float
    chance: float
    why: tuple[str, ...] = ()
    called: bool = False


def candidates(
    prompt: str, graph: Findable, family: str, *, most: int = 50, also: Iterable[str] = (), meaning: bool = True
) -> list[Candidate]:
    """Experts of a family that a prompt may be asking for, the likeliest first.

    Args:
        prompt: the user's words, in English where another language was read.
        graph: the store.
        family: whose experts.
        most: how many at most.
        also: ids that are weighed whatever the first look finds.
        meaning: whether the embedding model is asked; without it only words count, in milliseconds.
    """
    rows, found, asked = weighed(prompt, graph, family, also=also, meaning=meaning)
    if not found:
        return []
    scores = ranking.scores(rows)
    chances = ranking.chances(rows, scores)
    order = sorted(range(len(found)), key=lambda i: (-scores[i], found[i].id))[:most]
    return [
        Candidate(found[i].id, float(scores[i]), float(chances[i]), reasons(asked, found[i], rows[i]),
                  evidence.is_called(rows[i]))
        for i in order
    ]  # fmt: skip


def weighed(
    prompt: str, graph: Findable, family: str, *, also: Iterable[str] = (), meaning: bool = True
) -> tuple[NDArray[np.float64], list[Found], Asked]:
    """The evidence (experts, `evidence.COLUMNS`) for every expert that the first look finds, and who they are."""
    index = graph.words
    asked = _asked(prompt, index)
    seen, squashed, misspelt = _first_look(asked, index, family)
    text = words_of_prompt(prompt)[:_WHOLE].strip()
    meaning = meaning and bool(asked.terms)
    ids = [*also, *(graph.nearest(text, family, _ALIKE_MOST) if meaning else ())]
    kin = kin_of(asked, index, family)
    listed = index.numbers(ids).values() if ids else ()
    found = index.look_up(dict.fromkeys([*seen, *squashed, *misspelt, *listed, *kin.found]))
    rows = evidence.of_words(asked, found, squashed, misspelt)
    evidence.add_kin(rows, np.array([kin.likeness(one) for one in found]))
    if meaning and found:
        cosines = graph.cosines(text, family, [f.id for f in found])
        evidence.add_meaning(rows, np.array([cosines.get(f.id, 0.0) for f in found]))
    return rows, found, asked


def _asked(prompt: str, index: WordIndex) -> Asked:
    counts, total = index.prompt_counts(Asked(prompt, Rarity()).terms)
    return Asked(prompt, Rarity(counts, total))


def _first_look(
    asked: Asked, index: WordIndex, family: str
) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """By number: who says a rare word; who is called by a run of words; whose name is spelt nearly as a word."""
    seen: dict[int, float] = {}
    rare = sorted((t for t in asked.weights if asked.rarity(t) >= _RARE), key=lambda t: (-asked.weights[t], t))
    for term in rare[:_MOST_WORDS]:
        for num, strength in index.holding(family, term, _PER_WORD):
            seen[num] = seen.get(num, 0.0) + strength * asked.weights[term]
    squashed: dict[int, float] = {}
    for key, num, _ in index.called(family, asked.names):
        squashed[num] = max(squashed.get(num, 0.0), asked.names[key])
    misspelt: dict[int, float] = {}
    for term in [t for t in rare if asked.rarity(t) >= _MISSPELT_FROM and len(t) >= 5][:_MOST_MISSPELT]:
        for word, alike in _spelt_like(term, index, family):
            weight = asked.weights[term] * alike**2 * min(1.0, asked.rarity(word) / 9)
            for num, _ in index.holding(family, word, _PER_SPELLING, _IN_NAMES):
                misspelt[num] = max(misspelt.get(num, 0.0), weight)
    return _strongest(seen, LOOKED_AT), _strongest(squashed, _NAMED_MOST), _strongest(misspelt, _NAMED_MOST)


def _strongest(weighed: dict[int, float], most: int) -> dict[int, float]:
    return {n: weighed[n] for n in sorted(weighed, key=lambda n: (-weighed[n], n))[:most]}


def _spelt_like(term: str, index: WordIndex, family: str) -> list[tuple[str, float]]:
    """Other words that a term may mean: spelt nearly so, part of it, or with it as a part."""
    found = []
    for word in index.spelt_like(family, term):
        if word == term:
            continue
        alike = JaroWinkler.normalized_similarity(term, word)
        if word in term or term in word:
            alike = max(min(len(word), len(term)) / max(len(word), len(term)), alike if alike >= _ALIKE else 0.0)
        elif alike < _ALIKE:
            continue
        found.append((word, alike))
    return found
