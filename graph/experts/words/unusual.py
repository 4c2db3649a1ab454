"""Words that no dictionary has: what trainers make up so that a word means their subject and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...embedding import word_ranks
from .plain import clean, is_nothing
from .triggers import GENERIC, Groups, group, groups

_PART = re.compile(r"[a-z]+|\d+", re.I)


def is_unusual(word: str) -> bool:
    """Whether some part of a word or phrase stands in no vocabulary: ``ohwx man``, ``pixfox``, ``smart_falcon``."""
    ranks = word_ranks()
    folded = word.casefold()
    if folded in GENERIC or not any(c.isalpha() for c in folded):
        return False
    tokens = [token.strip("()[]{}.,:;!?\"'") for token in folded.split()]
    return any(_made_up(token, ranks) for token in tokens)


def _made_up(token: str, ranks: dict[str, int]) -> bool:
    if not token.isascii() or len(token) < 3:
        return False
    if "_" in token:
        return True
    if token.isalpha():
        return token not in ranks and token.removesuffix("s") not in ranks and token.removesuffix("ing") not in ranks
    parts = _PART.findall(token)
    return "-" not in token and "'" not in token and len(parts) > 1 and not token[0].isdigit()


def in_prompts(prompts: Sequence[str]) -> Groups:
    """What a card's sample prompts have in common that is no ordinary tag: the words that call the expert.

    With several prompts, a piece that stands in all of them; with one, a piece with a made-up word.
    """
    texts = [clean(prompt, 600).casefold() for prompt in prompts[:32] if not is_nothing(prompt)]
    if not texts:
        return ()
    pieces = [piece for piece in group(prompts[0][:600]) if piece.casefold() not in GENERIC]
    if len(texts) > 1:
        shared = [p for p in pieces if len(p.split()) <= 4 and all(p.casefold() in text for text in texts)]
        if shared:
            return groups([shared[0]])
    tokens = [token for piece in pieces for token in piece.split() if is_unusual(token)]
    every = [token for token in tokens if all(token.casefold() in text for text in texts)]
    return groups(every[:1])
