"""The sheet that orders are written on while a prompt is read, with the bounds of every number."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite, nan

from .request import Emphasis, ExpertOrder, Marked, Orders, Unmet

MOST_PIXELS, LEAST_PIXELS = 8192, 64
MOST_ASPECT = 8
"""So many times its short side an image may be long."""
MOST_SEED, MOST_STEPS, MOST_GUIDANCE, MOST_IMAGES = 2**32 - 1, 1000, 50.0, 64
NUMBER = r"[-+]?(?:\d{1,12}(?:\.\d{0,8})?|\.\d{1,8})"


class OrderSheet:
    """Orders as they are found. Of what is said twice the last in the text holds, and the others are named."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, object, str]] = {}
        self.experts: list[tuple[int, ExpertOrder]] = []
        self.emphasis: list[tuple[int, Emphasis]] = []
        self.unmet: list[tuple[int, Unmet]] = []
        self.excluded: list[tuple[int, str]] = []

    def set(self, at: int, name: str, value: object, text: str) -> None:
        """Order a value, as typed in ``text``; another value that was said before it is named as one that lost."""
        said = (at, value, text)
        kept = self.values.get(name, said)
        lost, holds = sorted((kept, said), key=lambda order: order[0])
        self.values[name] = holds
        if lost[1] != holds[1]:
            self.refuse(lost[0], lost[2], f"{name.replace('_', ' ')} is ordered again: {holds[2]} holds")

    def refuse(self, at: int, text: str, why: str) -> None:
        """Name an order that is understood and cannot be obeyed."""
        self.unmet.append((at, Unmet(text=text[:300], why=why)))

    def number(self, at: int, name: str, said: str, text: str) -> None:
        """Set a number if it is within its bounds, else name the order as one that cannot be obeyed."""
        low, high, whole = BOUNDS[name]
        try:
            value = float(said)
        except ValueError:
            value = nan
        if not isfinite(value) or not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            self.refuse(at, text, f"{name.replace('_', ' ')} is {kind} from {low:g} to {high:.10g}")
        else:
            self.set(at, name, int(value) if whole else value, text)

    def size(self, at: int, width: str, height: str, said: str) -> None:
        self.number(at, "width", width, said)
        self.number(at, "height", height, said)

    def aspect(self, at: int, width: int, height: int, said: str) -> None:
        """Set a format if an image can have it, else name it."""
        if 0 < width <= MOST_ASPECT * height and 0 < height <= MOST_ASPECT * width:
            self.set(at, "aspect", (width, height), said)
        else:
            self.refuse(at, said, f"a format is two numbers such as 16:9, up to {MOST_ASPECT}:1")

    def weigh_negative(self, said: str) -> None:
        """Keep a negative prompt as typed if its words have weights; without, the list of what is ruled out says it."""
        if re.search(r"[()\[\]]", said):
            before = f"{self.values['negative'][1]}, " if "negative" in self.values else ""
            self.values["negative"] = (0, before + " ".join(said.split()).strip(" ,"), said)

    def _last_of_each(self) -> list[tuple[int, ExpertOrder]]:
        """Experts in the text's order, each name once: the last; the others are named."""
        last: dict[str, tuple[int, ExpertOrder]] = {}
        for at, order in sorted(self.experts, key=lambda p: p[0]):
            if (lost := last.pop(order.name.casefold(), None)) is not None:
                self.refuse(lost[0], lost[1].text, f"the same expert is ordered again: {order.text} holds")
            last[order.name.casefold()] = (at, order)
        return sorted(last.values(), key=lambda p: p[0])

    def orders(self) -> Orders:
        experts = self._last_of_each()
        if "aspect" in self.values and "width" in self.values and "height" in self.values:
            at, _, said = self.values["aspect"]
            self.refuse(at, said, f"a size in pixels is ordered too: {self.values['width'][2]} holds")
        plain = {name: value for name, (_, value, _) in self.values.items()}
        return Orders.model_validate(
            {
                **plain,
                "experts": tuple(e for _, e in experts),
                "emphasis": tuple(e for _, e in sorted(self.emphasis, key=lambda p: p[0])),
                "not_possible": tuple(dict.fromkeys(e for _, e in sorted(self.unmet, key=lambda p: p[0]))),
            }
        )


BOUNDS: dict[str, tuple[float, float, bool]] = {
    "seed": (0, MOST_SEED, True), "steps": (1, MOST_STEPS, True), "guidance": (0, MOST_GUIDANCE, False), "images":
    (1, MOST_IMAGES, True), "width": (LEAST_PIXELS, MOST_PIXELS, True), "height": (LEAST_PIXELS, MOST_PIXELS, True),
    "clip_skip": (1, 12, True),
}  # fmt: skip


def each(pattern: re.Pattern[str], marked: Marked, act: Callable[[re.Match[str]], None]) -> None:
    """Do something for every match in what is still free."""
    for match in list(pattern.finditer(marked.free)):
        act(match)


def listed(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, str]]:
    """The things of a list between commas, each with its place."""
    things: list[tuple[int, str]] = []
    for match in re.finditer(r"[^,;\n|]+", text[start:end]):
        thing = re.sub(rf"[()\[\]]|:{NUMBER}\s?(?=[)\]]|$)", "", match[0]).strip(" .\t")
        if thing:
            things.append((start + match.start(), " ".join(thing.split())))
    return things
