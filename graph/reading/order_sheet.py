"""The sheet that orders are written on while a prompt is read, with the bounds of every number."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite

from .request import Emphasis, ExpertOrder, Marked, Orders, Unmet

MOST_PIXELS, LEAST_PIXELS = 8192, 64
MOST_SEED, MOST_STEPS, MOST_GUIDANCE, MOST_IMAGES = 2**32 - 1, 1000, 50.0, 64
NUMBER = r"[-+]?(?:\d{1,12}(?:\.\d{0,8})?|\.\d{1,8})"


class OrderSheet:
    """Orders as they are found. Of what is said twice the last in the text holds."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, object]] = {}
        self.experts: list[tuple[int, ExpertOrder]] = []
        self.emphasis: list[tuple[int, Emphasis]] = []
        self.unmet: list[tuple[int, Unmet]] = []
        self.excluded: list[tuple[int, str]] = []

    def set(self, at: int, name: str, value: object) -> None:
        if name not in self.values or self.values[name][0] <= at:
            self.values[name] = (at, value)

    def number(self, at: int, name: str, said: str, text: str) -> None:
        """Set a number if it is within its bounds, else name the order as one that cannot be obeyed."""
        low, high, whole = BOUNDS[name]
        value = float(said)
        if not isfinite(value) or not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            self.unmet.append(
                (at, Unmet(text=text, why=f"{name.replace('_', ' ')} is {kind} from {low:g} to {high:.10g}"))
            )
        else:
            self.set(at, name, int(value) if whole else value)

    def size(self, at: int, width: str, height: str, said: str) -> None:
        self.number(at, "width", width, said)
        self.number(at, "height", height, said)

    def orders(self) -> Orders:
        plain = {name: value for name, (_, value) in self.values.items()}
        return Orders.model_validate(
            {
                **plain,
                "experts": tuple(e for _, e in sorted(self.experts, key=lambda p: p[0])),
                "emphasis": tuple(e for _, e in sorted(self.emphasis, key=lambda p: p[0])),
                "not_possible": tuple(e for _, e in sorted(self.unmet, key=lambda p: p[0])),
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


def listed(text: str, start: int, end: int) -> list[tuple[int, str]]:
    """The things of a list between commas, each with its place."""
    things: list[tuple[int, str]] = []
    for match in re.finditer(r"[^,;\n|]+", text[start:end]):
        thing = re.sub(rf"[()\[\]]|:{NUMBER}\s?(?=[)\]]|$)", "", match[0]).strip(" .\t")
        if thing:
            things.append((start + match.start(), " ".join(thing.split())))
    return things
