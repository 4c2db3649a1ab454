"""Orders in plain words: "seed 42", "512x768", "in portrait format 3:4", "4 pictures of"."""

from __future__ import annotations

import re
from collections.abc import Callable

from .lone_orders import COUNTS, hangs, lead, orders_steps
from .order_sheet import LEAST_PIXELS, MOST_PIXELS, OrderSheet, each
from .request import Marked

_ASPECTS = frozenset(
    [(1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16), (16, 10), (21, 9), (9, 21), (5, 4), (4, 5)]
)
SHAPES = {
    "portrait": (3, 4), "vertical": (3, 4), "landscape": (4, 3), "horizontal": (4, 3), "square": (1, 1), "widescreen":
    (16, 9),
}  # fmt: skip
_INTEGER = r"(?:(?<=[\s=:])-)?\d{1,60}"
_SEED = re.compile(
    r"(?<![\w-])(?:(?:with|use|using)\s+(?:the\s+)?)?seed\s{0,2}(?:=|:|is|of|number)?\s{0,2}"
    rf"({_INTEGER}(?:\.\d{{1,9}})?)\b",
    re.I,
)
_STEPS = re.compile(
    r"(?<![\w-])(?:steps?\s{0,2}[=:]?\s{0,2}((?:(?<=[\s=:])-)?\d{1,60})\b|(\d{1,6})\s+(?:(?:sampling|inference)\s+)?steps\b"
    r"(?!\s+(?:of|to|up|down|in)\b))",
    re.I,
)
_GUIDANCE = re.compile(
    r"(?<![\w-])(?:cfg|guidance)(?:[ _-]scale)?\s{0,2}(?:=|:|of|at)?\s{0,2}"
    rf"({_INTEGER}(?:\.\d{{1,9}})?)\b",
    re.I,
)
_SIZE = re.compile(
    r"(?<![\w.])(?:(?:at|in|size|resolution|dimensions)\s{0,2}[:=]?\s{1,2}|size\s{0,2}[:=]\s{0,2})?"
    r"(\d{1,9})\s?(?:px|pixels)?\s?(?:[x×*]|by)\s?(\d{1,9})(?:\s?(?:px|pixels?)\b)?(?![\w.])",
    re.I,
)
_SIZE_SAID = re.compile(r"size|resolution|dimensions|px|pixel|\d{4}", re.I)
_NO_SIZE = frozenset(["4x4"])
"""A kind of car."""
_CLIP_SKIP = re.compile(rf"(?<![\w-])clip[ _-]?skip\s{{0,2}}(?:=|:|of|at|is)?\s{{0,2}}({_INTEGER})\b", re.I)
_SAMPLER = re.compile(
    r"(?:^|(?<=[,;|\n]))[ \t]{0,4}(sampler|scheduler|schedule type|vae)(?:[ _]name)?[ \t]{0,2}[:=][ \t]{0,2}"
    r"([^,;|\n]{1,60})",
    re.I,
)
_RATIO = re.compile(
    r"(?<![\w:.])((?:in|with|at)\s+(?:an?\s+)?)?"
    r"((?:portrait|landscape|square|wide|widescreen|vertical|horizontal|tall)\s+)?"
    r"((?:format|aspect(?:\s+ratio)?|ratio)\s{0,2}[:=]?\s{0,2}(?:of\s+)?)?(\d{1,4})\s?:\s?(\d{1,4})(?![\w:.]\w)"
    r"(\s+(?:portrait|landscape|square|wide|widescreen|vertical|horizontal|aspect)\b)?"
    r"(\s+(?:format|orientation|aspect(?:\s+ratio)?|ratio)\b)?",
    re.I,
)
_TURNED = re.compile(
    r"(?<!\w)(?:in\s+|as\s+(?:an?\s+)?)?(portrait|landscape|square|vertical|horizontal|widescreen)\s+"
    r"(?:format|orientation|mode|aspect(?:\s+ratio)?)\b(?:\s+of\b)?(?!\s{0,2}:?\s?\d{1,2}\s?:)",
    re.I,
)
_IMAGES = re.compile(
    r"^\W{0,4}(?:(?:please|pls|hi|hello|can|could|would|you|i|want|would like|need|give me|show me|draw|make|create|"
    r"generate|render|paint|me|us)\s+){0,6}"
    rf"(\d{{1,3}}|{'|'.join(COUNTS)})\s+(?:(?:different|small|square|new)\s+)?"
    r"(?:(images?|pictures?|pics?|variations?|versions?|samples?)|renders?|drawings?|photos?)\s+of\b",
    re.I,
)


def find_spoken_orders(marked: Marked, found: OrderSheet) -> None:
    """Mark what is ordered in plain words, and write it on the sheet."""

    def one(name: str) -> Callable[[re.Match[str]], None]:
        def act(match: re.Match[str]) -> None:
            found.number(match.start(), name, next(g for g in match.groups() if g), match[0].strip())
            marked.mark("order", match.start(), match.end())

        return act

    def steps(match: re.Match[str]) -> None:
        if orders_steps(marked.free, match):
            one("steps")(match)
            marked.mark("order", lead(marked.free, match.start()), match.start())

    def size(match: re.Match[str]) -> None:
        possible = all(LEAST_PIXELS <= int(n) <= MOST_PIXELS for n in match.groups())
        alone = _alone(marked.free, match) and match[0].strip().casefold() not in _NO_SIZE
        # "a 7x7 cube" and "a 24x36 poster" say nothing of the image.
        if possible or alone or _SIZE_SAID.search(match[0]):
            found.size(match.start(), match[1], match[2], match[0].strip())
            marked.mark("order", match.start(), match.end())

    def ratio(match: re.Match[str]) -> None:
        pair = (int(match[4]), int(match[5]))
        said = any(match[g] for g in (2, 3, 6, 7))
        clause = (
            not marked.free[: match.start()].rstrip(" ") or marked.free[: match.start()].rstrip(" ")[-1] in ",.;|\n"
        )
        if said or (pair in _ASPECTS and (clause or (match[1] or "").startswith("in"))):
            found.aspect(match.start(), *pair, match[0].strip())
            marked.mark("order", match.start(), match.end())

    def turned(match: re.Match[str]) -> None:
        found.set(match.start(), "aspect", SHAPES[match[1].casefold()], match[0].strip())
        marked.mark("order", match.start(), match.end())

    def images(match: re.Match[str]) -> None:
        if hangs(marked.free, match):
            return
        said = match[1].casefold()
        found.number(match.start(1), "images", str(COUNTS.get(said, said)), said)
        end = match.end() if match[2] else match.end(1)  # "4 photos of" says how they are to look
        marked.mark("order", match.start(1), end, bar=False)

    def sampler(match: re.Match[str]) -> None:
        name, value = match[1].casefold(), match[2].strip()
        if name == "schedule type" and "sampler" in found.values:
            at, kept, text = found.values["sampler"]
            if value.casefold() != "automatic":
                found.values["sampler"] = (at, f"{kept} {value}", f"{text}, {match[0].strip()}")
        else:
            found.set(match.start(), "vae" if name == "vae" else "sampler", value, match[0].strip())
        marked.mark("order", match.start(), match.end())

    each(_SAMPLER, marked, sampler)
    each(_CLIP_SKIP, marked, one("clip_skip"))
    each(_SEED, marked, one("seed"))
    each(_STEPS, marked, steps)
    each(_GUIDANCE, marked, one("guidance"))
    each(_SIZE, marked, size)
    each(_RATIO, marked, ratio)
    each(_TURNED, marked, turned)
    each(_IMAGES, marked, images)


def _alone(text: str, match: re.Match[str]) -> bool:
    """Whether a match is all that a clause says."""
    before, after = text[: match.start()].rstrip(" "), text[match.end() :].lstrip(" ")
    return (not before or before[-1] in ",.;|\n") and (not after or after[0] in ",.;|\n")
