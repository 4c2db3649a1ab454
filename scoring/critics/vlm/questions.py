"""Atoms as questions: what a vision model is asked about an image, in fixed forms that answers can be compared by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ....cleaning import clean
from ...request import WHOLE, Wanted

if TYPE_CHECKING:
    from pluralizer import Pluralizer

VERSION = 1
"""Of all forms here: part of a critic's identity, because other words get other answers."""
YES_NO = " Answer yes or no."
SHORTLY = " Answer in a few words."
GRADE = " Answer with a number from 0 (surely not) to 10 (surely)."
ONE_OR_TWO = " Answer 1 or 2."
_MOST = 300
_MOST_WHOLE = 1500
_TURNS = re.compile(r"[<>]+|\[/?[A-Z_]{2,}\]")
"""What templates mark turns and images with: "<image>", "[INST]"."""
_DETERMINED = re.compile(
    r"(?:an?|the|some|any|no|one|two|three|four|five|six|seven|eight|nine|ten|\d+|many|several|few|both|all|half|his|her|its|"
    r"their|my|your|our|this|that|these|those)(?![\w-])",
    re.IGNORECASE,
)
_AFTER_HEAD = re.compile(
    r"\s+(?:in|on|at|of|with|without|under|over|by|near|behind|beside|before|from|to|for|and|that|which|who|wearing|"
    r"holding|\w{2,}ing)\s.*",
    re.IGNORECASE | re.DOTALL,
)
_VOWEL_SOUND = re.compile(
    r"(?!one\b|one-|once\b|eu|ewe|uni(?![nmd])|us[aeiu]|ut[ei]|uk|ufo\b)(?:[aeiou]|hour|hono|heir)", re.IGNORECASE
)


def question(wanted: Wanted) -> str:
    """The yes/no question of an atom: what `YES_NO` or `GRADE` follows when it is asked."""
    text = said(wanted)
    match wanted.facet:
        case "subject" | "object" | "attribute" | "relation":
            return f"Does the image show {with_article(text)}?"
        case "style":
            return f"Is the image in {without(text, ' style')} style?"
        case "background":
            return f"Is the background {without(text, ' background')}?"
        case "count":
            return f"Does the image show exactly {text}?"
        case "action" | "pose":
            return f"Is anyone or anything in the image {text}?"
        case "clothing":
            return f"Is anyone in the image wearing {with_article(text)}?"
        case "lighting":
            return f"Is the lighting of the image {text}?"
        case "text":
            return f'Is the text "{text}" written in the image?'
        case _ if wanted.facet == WHOLE:
            return f'Does the image show what this text describes: "{text}"?'
        case _:
            return f"Does the image show {text}?"


def open_question(wanted: Wanted) -> str:
    """What is asked about an atom that is missing: what is seen instead. `SHORTLY` follows it."""
    match wanted.facet:
        case "subject" | "object" | "character":
            return "What does the image show?"
        case "style":
            return "Which style is the image in?"
        case "background":
            return "What is the background?"
        case "count":
            return f"How many are there, where {said(wanted)} should be?"
        case "action" | "pose":
            return "What is done in the image, in which pose?"
        case "clothing":
            return "What is worn in the image?"
        case "lighting":
            return "What is the lighting of the image?"
        case "text":
            return "What is written in the image?"
        case _ if wanted.facet == WHOLE:
            return "What does the image show as a whole?"
        case _:
            return f"What is seen in the image, where {said(wanted)} should be?"


def choice(wanted: Sequence[Wanted]) -> str:
    """The forced choice between two images; `ONE_OR_TWO` follows it."""
    whole = [want for want in wanted if want.facet == WHOLE]
    text = "; ".join(
        f'"{said(want)}"' if want.facet in (WHOLE, "text") else f"{want.facet} {said(want)}" for want in whole or wanted
    )
    return f"Here are two images, image 1 and then image 2. Which of them shows this better: {text}?"


def said(wanted: Wanted) -> str:
    """An atom's text as it may stand in a question: one line, bounded, without what a chat template could obey."""
    most = _MOST_WHOLE if wanted.facet == WHOLE else _MOST
    return " ".join(clean(_TURNS.sub(" ", wanted.text), most).split()) or "that"


def without(text: str, suffix: str) -> str:
    """``text`` without the word that the question has already ("neon style": "neon")."""
    return text[: -len(suffix)] if text.casefold().endswith(suffix) else text


def with_article(text: str) -> str:
    """``text`` with "a" or "an" where a singular noun wants one: not before names, plurals, or what has its own."""
    phrase = _AFTER_HEAD.sub("", text)
    if _DETERMINED.match(text) or _is_name(text) or (phrase and _is_name(phrase)):
        return text
    head = phrase.split()[-1:] or [text]
    if _pluralizer().is_plural(head[0]) or head[0].casefold() in ("hair", "armor", "armour"):
        return text
    return f"{'an' if _VOWEL_SOUND.match(text) else 'a'} {text}"


def _is_name(text: str) -> bool:
    return all(word.istitle() for word in text.split())


@cache
def _pluralizer() -> Pluralizer:
    from pluralizer import Pluralizer

    return Pluralizer()
