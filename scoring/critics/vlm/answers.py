"""From a model's first token to P(yes): the probabilities of all spellings of yes, against those of no."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

YES, NO = ("yes",), ("no",)
FIRST, SECOND = ("1",), ("2",)
MOST_LISTED = 20
"""Tokens of which a server tells the probability; more are refused by vLLM and by OpenAI."""
_MARKS = "Ġ▁"
"""A blank before a word, as byte-level BPE and SentencePiece write it inside a vocabulary."""
_AROUND = " \t\r\n.,:;!\"'`*"
"""What may stand in one token with a word, and does not change it: "Yes.", "**Yes"."""


def spelling(token: str) -> str:
    """A token as it is compared: without blanks and marks around it and without case."""
    return token.strip().lstrip(_MARKS).strip(_AROUND).casefold()


def spellings(words: Sequence[str]) -> list[str]:
    """Texts that a vocabulary may hold as one token and that mean one of ``words``: Yes, yes, YES, and each after a
    blank, as text or as vocabularies write it.
    """
    cases = [case for word in words for case in (word.capitalize(), word.lower(), word.upper())]
    return list(dict.fromkeys(before + case for case in cases for before in ("", " ", *_MARKS)))


def probability(listed: Iterable[tuple[str, float]], yes: Sequence[str] = YES, no: Sequence[str] = NO) -> float | None:
    """P(yes) from the likeliest first tokens: the sum over spellings of yes, of the sum over those of yes and of no.

    Where only one of the two is listed, the other has less than the least that is listed, and counts as nothing. But a
    server that tells one token only hides the other: it has all that the one has not.

    Args:
        listed: (token, natural logarithm of its probability).

    Returns:
        0..1; None where neither is listed: then the model answered something else, which says nothing about the image.
    """
    sums = dict.fromkeys((*yes, *no), 0.0)
    told = list(listed)
    for token, logprob in told:
        word = spelling(token)
        if word in sums and not math.isnan(logprob):
            sums[word] += math.exp(min(0.0, logprob))
    for_yes, for_no = (sum(sums[word] for word in words) for words in (yes, no))
    if len(told) == 1 and for_yes + for_no > 0:
        return min(1.0, for_yes) if for_yes else 1 - min(1.0, for_no)
    return for_yes / (for_yes + for_no) if for_yes + for_no > 0 else None
