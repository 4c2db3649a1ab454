"""Orders that are all a clause says: "Euler a", "4 images", "20 steps". In a sentence they are the scene's."""

from __future__ import annotations

import re

from ...merging.plan.samplers import DEFAULT, MAX_NAME, understood
from .order_sheet import OrderSheet, each
from .request import Marked

_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
COUNTS = {word: n for n, word in enumerate(_WORDS, 1)}
_CLAUSE = re.compile(r"(?:[^,;|\n.]|\.(?![\s|]|$))+")
_SAMPLER = re.compile(
    r"((?:with|use|using)\s+(?:the\s+)?)?((?:sampler|scheduler)(?:\s*[:=]\s*|\s+(?:is\s+)?))?(\S.*?)(\s+(?:sampler|scheduler))?",
    re.I,
)
_PEOPLE = frozenset({"euler", "heun"})
"""Samplers that are called as somebody is: "Euler, portrait" draws him."""
_IMAGES = re.compile(
    rf"(?:please\s+)?(\d{{1,3}}|{'|'.join(COUNTS)})\s+(?:different\s+)?(?:images?|variations?|renders|outputs)"
    rf"(?:\s+please)?",
    re.I,
)

_DRAWS = r"(?:draw|render|generate|make|create|paint|sample|sketch|give|show)"
_BEFORE_STEPS = re.compile(
    rf"(?:^|[,;|\n.])\s{{0,9}}(?:and\s+)?(?:(?:with|in|at|use|using|do|{_DRAWS}(?:\s+it)?(?:\s+(?:in|with|at))?)\s+)?$"
    r"|\b(?:using|use|at)\s+$",
    re.I,
)
_IN_STEPS = re.compile(r"\b(?:in|with)\s+$", re.I)
_ORDERS_DRAWING = re.compile(rf"(?:^|[,;|\n.])\s{{0,9}}(?:(?:please|can|could|would|you)\s+){{0,4}}{_DRAWS}\b", re.I)
_AFTER_STEPS = re.compile(
    r"\s{0,9}(?:$|[,;|\n.!?)<]|(?:please|--)|(?:(?:and|with|at)\s+)?(?:an?\s+)?(?:cfg|guidance|seed|size|clip|\d{2,5}\s?[x×]))",
    re.I,
)
_MADE = re.compile(r"\b(?:made|built|assembled|done|explained|solved)\s+$", re.I)
_ON_A_WALL = re.compile(
    r"\b(?:hang|hangs|hanging|hung|pinned|taped|framed|mounted|displayed|glued|nailed)\b[^,;|\n.]{0,60}\b"
    r"(?:walls?|board|corkboard|shelf|mantel|mantelpiece|fridge|museum|gallery|hallway|frames?|door)\b",
    re.I,
)


def find_lone_orders(marked: Marked, found: OrderSheet) -> None:
    """Mark the clauses that only name a sampler or say how many images, and write them on the sheet."""

    def clause(match: re.Match[str]) -> None:
        said = match[0].strip(" \t")
        if not said or len(said) > MAX_NAME:
            return
        images = _IMAGES.fullmatch(said)
        sampler = "" if images else _sampler_of(said, first=not marked.free[: match.start()].strip(" \t|"))
        if images:
            number = images[1].casefold()
            found.number(match.start(), "images", str(COUNTS.get(number, number)), said)
        elif sampler:
            found.set(match.start(), "sampler", sampler, said)
        if images or sampler:
            stop = marked.free.startswith(".", match.end())  # of a sentence of its own
            marked.mark("order", match.start(), match.end() + stop)

    each(_CLAUSE, marked, clause)


def _sampler_of(said: str, *, first: bool) -> str:
    """The sampler that a clause orders; "" if it names none that the table of samplers knows."""
    match = _SAMPLER.fullmatch(said)
    if match is None:
        return ""
    named, word = match[2] or match[4], match[3]
    known = understood(word)
    if not known.known or (known.name == DEFAULT and not named):
        return ""
    return "" if first and not (match[1] or named) and word.casefold() in _PEOPLE else word


_LEAD = re.compile(r"\b(?:with|in|at|use|using|do)\s+$", re.I)


def lead(text: str, start: int) -> int:
    """Where an order begins with the little word before it: "in 20 steps"."""
    match = _LEAD.search(text, max(0, start - 12), start)
    return match.start() if match else start


def orders_steps(text: str, match: re.Match[str]) -> bool:
    """Whether "20 steps" or "steps: 20" orders them: alone in its clause, or after "draw …in". A runner takes his."""
    said, before = match[0].casefold(), text[max(0, match.start() - 400) : match.start()]
    if ":" in said or "=" in said or "sampling" in said or "inference" in said:
        return True
    if not _AFTER_STEPS.match(text, match.end()):
        return False
    if match[1]:
        return said.startswith("steps")
    if _BEFORE_STEPS.search(before):
        return True
    way = _IN_STEPS.search(before)
    return way is not None and not _MADE.search(before[: way.start()]) and bool(_ORDERS_DRAWING.search(before))


def hangs(text: str, asked: re.Match[str]) -> bool:
    """Whether "3 pictures of grandma hanging on the wall" are in the scene: nobody says to draw so many."""
    return not re.search(r"[^\W\d_]", text[asked.start() : asked.start(1)]) and bool(
        _ON_A_WALL.search(text, asked.end(), asked.end() + 200)
    )
