"""What our search is held against: BM25 over everything that a page says, and plain cosine of MiniLM."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from ...graph.embedding import Embedder
from ...graph.experts.expert import Expert

Rank = Callable[[str], list[str]]
"""A prompt -> ids, the likeliest first."""
_WORD = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]+")
_K, _B = 1.2, 0.75
_MOST_CHARACTERS = 1000


def bm25(experts: Sequence[Expert]) -> Rank:
    """Okapi BM25 (Robertson et al. 1994) over title, description, triggers and tags as one text."""
    texts = [
        " ".join((e.title, e.description, *(w for g in e.triggers for w in g), *e.tags)).casefold() for e in experts
    ]
    counts = [Counter(_WORD.findall(text)) for text in texts]
    lengths = np.array([sum(c.values()) for c in counts], float)
    norm = _K * (1 - _B + _B * lengths / max(lengths.mean(), 1.0))
    postings: dict[str, list[tuple[int, int]]] = {}
    for at, count in enumerate(counts):
        for word, n in count.items():
            postings.setdefault(word, []).append((at, n))

    def rank(prompt: str) -> list[str]:
        scores = np.zeros(len(experts))
        for word in _WORD.findall(prompt.casefold()):
            held = postings.get(word, [])
            idf = log(1 + (len(experts) - len(held) + 0.5) / (len(held) + 0.5))
            for at, n in held:
                scores[at] += idf * n * (_K + 1) / (n + norm[at])
        return _ranked(scores, experts)

    return rank


def minilm(experts: Sequence[Expert], embedder: Embedder) -> Rank:
    """Cosine of the whole prompt with the text that is embedded of each expert."""
    vectors = embedder.embed([e.text or e.title for e in experts])

    def rank(prompt: str) -> list[str]:
        scores = vectors @ embedder.embed([prompt[:_MOST_CHARACTERS]])[0]
        return _ranked(scores.astype(np.float64), experts)

    return rank


def _ranked(scores: NDArray[np.float64], experts: Sequence[Expert]) -> list[str]:
    order = np.argsort(-scores, kind="stable")
    return [experts[i].id for i in order[:100] if scores[i] > 0]
