"""What a critic is asked, and what it answers. Plain data: nothing here imports torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

WHOLE = "prompt"
"""The facet of a request's words as a whole."""
_SUFFIX = {"style": " style", "background": " background"}
_ARTICLE = re.compile(r"^(?:an?|the)\s+")


class Wanted(BaseModel):
    """One thing that an image must show: ``text`` under ``facet`` ("subject", "style", "background", …, or `WHOLE`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    facet: str
    text: str = Field(min_length=1)


class Verdict(BaseModel):
    """What a critic says of one image.

    ``facets`` maps each wanted text to the probability (0..1) that the image shows it; ``score`` is a mean of them that
    one missing thing sinks (harmonic or geometric); ``findings`` are sentences a planner can act upon; ``seen`` maps a
    wanted text that is missing to what the image shows instead, where the critic can say; ``unsure`` are texts about
    which it was asked and got no answer, so that their 0.5 is no measurement; ``by`` is who judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float = Field(ge=0.0, le=1.0)
    facets: dict[str, FiniteFloat] = Field(default_factory=dict)
    findings: tuple[str, ...] = ()
    seen: dict[str, str] = Field(default_factory=dict)
    unsure: tuple[str, ...] = ()
    by: str = ""


def normal(text: str, facet: str) -> str:
    """The form under which texts are compared: lower case, single blanks, no article, no " style"/" background"."""
    clean = _ARTICLE.sub("", " ".join(text.casefold().split()))
    suffix = _SUFFIX.get(facet, "")
    return clean.removesuffix(suffix) if suffix and clean != suffix.strip() else clean


def harmonic_mean(values: Iterable[float]) -> float:
    """Harmonic mean of numbers in [0, inf); 0 if any is 0. Raises ValueError for none or a negative number."""
    numbers = list(values)
    if not numbers or min(numbers) < 0:
        raise ValueError("a harmonic mean needs at least one number and no negative ones")
    if min(numbers) == 0:
        return 0.0
    return len(numbers) / sum(1.0 / v for v in numbers)


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean of numbers in [0, inf); 0 if any is 0. Raises ValueError for none or a negative number."""
    numbers = list(values)
    if not numbers or min(numbers) < 0:
        raise ValueError("a geometric mean needs at least one number and no negative ones")
    if min(numbers) == 0:
        return 0.0
    return math.exp(sum(math.log(v) for v in numbers) / len(numbers))
