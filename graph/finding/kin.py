"""Experts like those whose example prompts are like the prompt: what one page shows is what its kin draw, too.

The example prompts that are nearest to the prompt are found, of all experts alike; the names and tags of whoever has
them make one list of weighted words, and experts that say those words are kin (Rocchio's feedback, over people's own
pictures). Nobody is their own kin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, sqrt

from .asked import Asked
from .entry import FIELDS
from .index import Found, WordIndex

LIKE = 15
"""So many example prompts are taken as like the prompt."""
LEAST_LIKE = 0.1
"""Share of the prompt's weight that an example has to say."""
WORDS = 25
"""So many words of their pages are asked for."""
ALSO = 10
"""So many kin are weighed though nothing else found them."""
_ASKED_BY = 10
_LOOKED_AT = 120
_SAYING = 80
_RARE = 2.0
_FIELD_WEIGHTS = {"trigger": 1.0, "title": 1.0, "file": 0.5, "tag": 0.7, "seen": 0.0, "about": 0.3}
_USUAL_RARITY = 5.0


@dataclass(frozen=True)
class Kin:
    """What kin are told by.

    Attributes:
        words: word -> weight.
        shares: by number, how far each expert's own pages made them.
        found: numbers of the nearest kin.
    """

    words: Mapping[str, float] = field(default_factory=dict)
    rarity: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)
    found: tuple[int, ...] = ()

    def likeness(self, one: Found) -> float:
        """How much of the words an expert says, less what it brought itself; from 0."""
        own = _unit(one, self.rarity)
        share = self.shares.get(one.num, 0.0)
        return max(0.0, sum(self.words[w] * v - share * v * v for w, v in own.items() if w in self.words))


def kin_of(asked: Asked, index: WordIndex, family: str) -> Kin:
    """The kin of those whose example prompts are like a prompt; nobody where no example is."""
    shares = _like(asked, index)
    pages = index.look_up(shares)
    spread, size = index.spread(family, {w for page in pages for w in _weights(page)})
    rarity = {w: log(max(size, n) / n) for w, n in spread.items()}
    words: dict[str, float] = {}
    for page in pages:
        for word, value in _unit(page, rarity).items():
            words[word] = words.get(word, 0.0) + shares[page.num] * value
    kept = {w: words[w] for w in sorted(words, key=lambda w: (-words[w], w))[:WORDS] if words[w] > 0}
    kin = Kin(kept, rarity, shares)
    alike = {one.num: kin.likeness(one) for one in index.look_up(index.saying(family, kept, _SAYING))}
    nearest = sorted((n for n in alike if alike[n] > 0), key=lambda n: (-alike[n], n))[:ALSO]
    return Kin(kept, rarity, shares, tuple(nearest))


def _like(asked: Asked, index: WordIndex) -> dict[int, float]:
    """By number, how alike the example prompts of an expert are, of the `LIKE` that are most alike."""
    rare = sorted((t for t in asked.weights if asked.rarity(t) >= _RARE), key=lambda t: (-asked.weights[t], t))
    whole = sum(asked.weights.values())
    found: list[tuple[float, int]] = []
    for num, words in index.prompts_like(rare[:_ASKED_BY], _LOOKED_AT):
        said = sum(asked.weights.get(word, 0.0) for word in words)
        if said >= LEAST_LIKE * whole:
            mass = sum(asked.rarity(word) ** 2 / 10 for word in words)
            found.append((said / sqrt(max(mass, 1.0) * max(whole, 1.0)), num))
    shares: dict[int, float] = {}
    for alike, num in sorted(found, key=lambda f: (-f[0], f[1]))[:LIKE]:
        shares[num] = shares.get(num, 0.0) + alike / LIKE
    return shares


def _weights(one: Found) -> dict[str, float]:
    """Each word of an expert's names and tags -> the weight of the field that counts most."""
    found: dict[str, float] = {}
    for name, phrases in zip(FIELDS, one.phrases, strict=True):
        weight = _FIELD_WEIGHTS[name]
        for word in {word for phrase in phrases for word in phrase} if weight else ():
            found[word] = max(found.get(word, 0.0), weight)
    return found


def _unit(one: Found, rarity: Mapping[str, float]) -> dict[str, float]:
    """Of an expert's words those whose rarity is known, weighed by it, about of length 1 together."""
    weights = _weights(one)
    length = _USUAL_RARITY * sqrt(sum(w * w for w in weights.values())) or 1.0
    return {word: weight * rarity[word] / length for word, weight in weights.items() if word in rarity}
