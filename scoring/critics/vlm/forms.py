"""The forms in which a server may be asked for a probability, the truest first, and how each is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .answers import MOST_LISTED, probability
from .questions import GRADE
from .wire import Choice, Json

_NUMBER = re.compile(r"(?<![\w.,-])\d{1,3}(?:[.,]\d{1,6})?(?![\w%])")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_SCALE = re.compile(r"\b0\s*(?:\([^()]{0,40}\)\s*)?(?:to|-|–|and)\s*10\b|(?:/|\bout\s+of)\s*10\b")
"""The bounds between which a grade was asked for, told again: "on a scale of 0 to 10", "8/10"."""
_MOST_TEXT = 4000


class NoLogprobs(ValueError):
    """The answer does not say what other tokens would have been as likely."""


class Neither(ValueError):
    """The first token is neither yes nor no, and neither is among the likeliest; the message is what was written."""


class NoGrade(Neither):
    """A grade was asked for, and none was given."""


@dataclass(frozen=True)
class Form:
    """One way to ask.

    Attributes:
        ending: what follows the question; None: the ending that the question itself has.
        options: of the request, beside model and messages.
        read: the answer's probability. Raises NoLogprobs, Neither.
        graded: whether the model itself gives a number, where its probabilities are not told.
    """

    ending: str | None
    options: Json
    read: Callable[[Choice, Sequence[str], Sequence[str]], float]
    graded: bool = False


def _from_logprobs(choice: Choice, yes: Sequence[str], no: Sequence[str]) -> float:
    if choice.listed is None:
        raise NoLogprobs("the server told no probabilities")
    found = probability(choice.listed, yes, no)
    if found is None:
        raise Neither(choice.text or next(iter(choice.listed), ("", 0.0))[0])
    return found


def _from_grade(choice: Choice, yes: Sequence[str], no: Sequence[str]) -> float:
    """A number 0 to 10, in JSON or else the last one of the text, as a probability."""
    text = _THOUGHT.sub(" ", choice.text)
    value = json_of(text).get("score")
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = _NUMBER.findall(_SCALE.sub(" ", text[-_MOST_TEXT:]))
        value = float(found[-1].replace(",", ".")) if found else math.nan
    if not 0 <= value <= 10:
        raise NoGrade(choice.text)
    return value / 10


def json_of(text: str) -> dict[str, Any]:
    """The JSON object in a text, which may stand in a fence or among words; {} where there is none."""
    start, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[start : end + 1], strict=False) if 0 <= start < end else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def schema(name: str, properties: Json) -> Json:
    """A ``response_format`` that holds the answer to an object of these properties, all of them wanted."""
    whole = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": whole}}


_FIRST: Json = {"logprobs": True, "top_logprobs": MOST_LISTED}
_GRADE_FORMAT = schema("grade", {"score": {"type": "number", "description": "0: surely not; 10: surely"}})
THINKING = 4000
"""Tokens that a model may take which thinks before it answers, and counts that."""
FORMS = (
    # Temperature 1, so that a server that tells the probabilities after its sampler tells the model's own.
    Form(None, {**_FIRST, "max_tokens": 1, "temperature": 1}, _from_logprobs),
    Form(None, {**_FIRST, "max_completion_tokens": 1}, _from_logprobs),
    Form(None, {"logprobs": True, "top_logprobs": 5, "max_tokens": 1, "temperature": 1}, _from_logprobs),
    Form(GRADE, {"response_format": _GRADE_FORMAT, "max_tokens": 40, "temperature": 0}, _from_grade, graded=True),
    Form(GRADE, {"response_format": _GRADE_FORMAT, "max_completion_tokens": THINKING}, _from_grade, graded=True),
    Form(GRADE, {"max_tokens": 40, "temperature": 0}, _from_grade, graded=True),
)
