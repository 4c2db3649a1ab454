"""The weight that an author recommends in running text: a number or a range beside the word weight or strength."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .plain import MAX_READ

MOST = 2.0
_NUMBER = r"(-?\d?[.,]\d{1,2}|-?\d)(?![\d%])"
_RANGE = _NUMBER + r"(?:\s{0,3}(?:-|–|—|~|～|to|and|至|到)\s{0,3}" + _NUMBER + ")?"
_AFTER = re.compile(r"(?:weights?|strengths?|权重|權重|強度|强度)[^0-9\n.]{0,32}?" + _RANGE, re.I)
_BEFORE = re.compile(_RANGE + r"\s{0,3}(?:lora\s{0,2})?(?:weights?|strengths?)\b", re.I)
_ORDER = re.compile(r"<(?:lora|lyco):[^:<>\n]{1,120}:[^0-9<>\n-]{0,20}" + _RANGE, re.I)


@dataclass(frozen=True)
class Recommended:
    """A weight, and the range it was read from; ``low`` and ``high`` are None where one number is named."""

    weight: float
    low: float | None = None
    high: float | None = None


def recommended(text: str) -> Recommended | None:
    """The first weight or range that a text recommends, None if it names none or one beyond -2 … 2."""
    text = text[:MAX_READ]
    for pattern in (_AFTER, _BEFORE, _ORDER):
        for match in pattern.finditer(text):
            low, high = _value(match[1]), _value(match[2])
            if low is None or not 0 < abs(low) <= MOST:
                continue
            if high is None or high == low or not 0 < abs(high) <= MOST:
                return Recommended(low)
            low, high = sorted((low, high))
            return Recommended(round((low + high) / 2, 3), low, high)
    return None


def _value(text: str | None) -> float | None:
    return None if text is None else float(text.replace(",", "."))
