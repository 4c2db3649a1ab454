"""What a user typed, taken apart: words to draw, orders, what is ruled out, text to write; nothing is lost."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ..experts.expert import Frozen

PartKind = Literal["words", "quoted", "order", "exclusion", "left out"]


class Part(Frozen):
    """A stretch of what was typed and what it is. Parts lie side by side and cover the text from end to end.

    Attributes:
        start, end: character offsets; the stretch is ``text[start:end]``.
        why: for what is left out: the reason, in words.
    """

    kind: PartKind
    text: str
    start: int = Field(ge=0)
    end: int
    why: str = ""


class ExpertOrder(Frozen):
    """``<lora:NAME:0.5:0.7>``, ``--expert NAME:0.7``: an expert by its file's name, repository or id.

    Attributes:
        kind: as the tag says it ("lora", "embedding"); "expert": ordered outside the prompt.
        weight, text_weight: everywhere, and in the text encoders where that is another one; None: not said.
        text: as typed.
    """

    kind: str
    name: str
    weight: float | None = None
    text_weight: float | None = None
    text: str


class Emphasis(Frozen):
    """``(octopus:1.3)``, ``((octopus))``, ``[octopus]``: words that stay in the prompt, and how strongly."""

    text: str
    weight: float


class Unmet(Frozen):
    """An order that nothing here can obey, and why."""

    text: str
    why: str


class Orders(Frozen):
    """All that is ordered beside the words. Of what is said twice the last holds; None: not said.

    Attributes:
        width, height: pixels. aspect: width to height, as typed (16, 9).
        guidance: the scale of classifier-free guidance. images: how many.
        negative: what the image is not to show, in the user's own words.
        without: experts that are ruled out, by id or name. method: the merge method.
        not_possible: orders that are understood and cannot be obeyed.
    """

    experts: tuple[ExpertOrder, ...] = ()
    emphasis: tuple[Emphasis, ...] = ()
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    aspect: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    images: int | None = None
    clip_skip: int | None = None
    sampler: str = ""
    model: str = ""
    vae: str = ""
    negative: str = ""
    without: tuple[str, ...] = ()
    method: str = ""
    not_possible: tuple[Unmet, ...] = ()

    @model_serializer(mode="wrap")
    def _as_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what is ordered is written down."""
        out: dict[str, Any] = handler(self)
        return {name: value for name, value in out.items() if getattr(self, name) not in _UNSAID}

    @property
    def said(self) -> bool:
        """Whether anything is ordered."""
        return any(getattr(self, name) not in _UNSAID for name in type(self).model_fields)

    def over(self, typed: Orders) -> Orders:
        """These orders laid over those of a prompt: what both say is taken from here, experts name by name."""
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) not in _UNSAID}
        if self.width is not None or self.height is not None or self.aspect is not None:
            said |= {"width": self.width, "height": self.height, "aspect": self.aspect}
        mine = {order.name.casefold() for order in self.experts}
        kept = tuple(order for order in typed.experts if order.name.casefold() not in mine)
        said["experts"] = kept + self.experts
        said["without"] = tuple(dict.fromkeys(typed.without + self.without))
        said["not_possible"] = typed.not_possible + self.not_possible
        return typed.model_copy(update=said)


_UNSAID: tuple[object, ...] = (None, "", ())


class Place(Frozen):
    """``english[start:end]`` stands for ``text[at:to]`` of what was typed."""

    start: int
    end: int
    at: int
    to: int


class Request(Frozen):
    """What was typed, taken apart.

    Attributes:
        text: as typed.
        parts: what each stretch is.
        words: the words to draw, as typed, weights and quoted text with them.
        language: of the words (``de``), if it is one that is put into English to be read; else empty.
        english: the words in English, word by word, where they are of another language.
        places: which part of ``english`` stands for which part of ``text``.
        plain: as long as ``source``, with blanks for all that names nothing to draw: what is read for skills.
        excluded: what is ruled out, without the words that say so.
        quoted: text that the image is to show.
    """

    text: str
    parts: tuple[Part, ...] = ()
    words: str = ""
    language: str = ""
    english: str = ""
    places: tuple[Place, ...] = ()
    plain: str = ""
    orders: Orders = Orders()
    excluded: tuple[str, ...] = ()
    quoted: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The text that is read: as typed, or its English."""
        return self.english if self.language else self.text

    def typed(self, start: int, end: int) -> tuple[int, int]:
        """Where in ``text`` a stretch of ``source`` was typed."""
        if not self.language:
            return start, end
        met = [p for p in self.places if p.start < end and start < p.end and p.to > p.at] or list(self.places[:1])
        return (min(p.at for p in met), max(p.to for p in met)) if met else (0, len(self.text))

    @property
    def left_out(self) -> tuple[Part, ...]:
        """The stretches that nothing is done with, each with its reason."""
        return tuple(p for p in self.parts if p.kind == "left out")


class Marked:
    """A text on which stretches are marked one after the other, each character once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.free = text
        """The text with all that is marked written over: a bar where a clause may end, else blanks."""
        self._taken = bytearray(len(text))
        self._marks: list[tuple[PartKind, int, int, str]] = []

    def mark(self, kind: PartKind, start: int, end: int, why: str = "", *, bar: bool = True) -> None:
        """``text[start:end]`` is of that kind, but for what is marked in it. Blanks at its ends stay words."""
        while start < end:
            stop = min(end, (self._taken.find(1, start, end) + 1 or end + 1) - 1)
            self._mark_free(kind, start, stop, why, bar)
            start = stop
            while start < end and self._taken[start]:
                start += 1

    def _mark_free(self, kind: PartKind, start: int, end: int, why: str, bar: bool) -> None:
        while start < end and self.text[start].isspace():
            start += 1
        while end > start and self.text[end - 1].isspace():
            end -= 1
        if end > start:
            self._marks.append((kind, start, end, why))
            self._taken[start:end] = b"\1" * (end - start)
            self.blank(start, end, bar=bar)

    def blank(self, start: int, end: int, *, bar: bool = False) -> None:
        """Hide a stretch from reading without saying what it is."""
        self.free = self.free[:start] + ("|" if bar else " ") * (end - start) + self.free[end:]

    def parts(self) -> tuple[Part, ...]:
        """The whole text in parts; what nobody marked is words."""
        found: list[Part] = []
        at = 0
        for kind, start, end, why in sorted(self._marks, key=lambda m: m[1]):
            if start > at:
                found.append(Part(kind="words", text=self.text[at:start], start=at, end=start))
            found.append(Part(kind=kind, text=self.text[start:end], start=start, end=end, why=why))
            at = end
        if at < len(self.text):
            found.append(Part(kind="words", text=self.text[at:], start=at, end=len(self.text)))
        return tuple(found)
