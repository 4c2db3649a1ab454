"""The consoles of the command line and the chat: whatever is printed, only clean text reaches the terminal.

Every string and every `Text`, alone or in a table, a status line or a progress bar, passes `cleaning.clean`; markup in
it is only text. Our own colours are put round it with `styled` or a `style` argument. What other renderables of rich
write is cleaned once more where it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from .cleaning import clean, is_clean


class CleanConsole(Console):
    """A rich console that cleans. A string is one line: `lines` prints a text of several."""

    def __init__(self, *, file: IO[str] | None = None, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(file=file, stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as clean text, without markup or emoji codes."""
        return super().render_str(clean(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything that rich can draw, each of them clean."""
        if isinstance(renderable, Text):
            renderable = _clean_text(renderable)
        for segment in super().render(renderable, options):
            yield segment if segment.control else _clean_segment(segment)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A spinner with a line beside it."""
        return _CleanStatus(status, console=self, **options)

    def line_of(self, text: str | Text) -> None:
        """One line, however long: the terminal breaks it, or whoever reads the pipe does."""
        self.print(text, soft_wrap=True)

    def lines(self, text: str) -> None:
        """A text of several lines, each as it stands."""
        for line in text.split("\n"):
            self.line_of(line)


class _CleanStatus(Status):
    """rich reads markup in a status line, whatever the console says: it is handed text instead."""

    def __init__(self, status: RenderableType, **options: Any) -> None:
        super().__init__(_as_text(status), **options)

    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(None if status is None else _as_text(status), **options)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of plain strings and (string, style) pairs."""
    return Text.assemble(*(clean(part) if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts))


def _as_text(renderable: RenderableType) -> RenderableType:
    return Text(clean(renderable)) if isinstance(renderable, str) else renderable


def _clean_text(text: Text) -> Text:
    """The same text, cleaned between the places where styles begin and end, so that they stay where they were."""
    if is_clean(text.plain):
        return text
    made = text.blank_copy()
    for piece in text.divide(sorted({at for span in text.spans for at in (span.start, span.end)})):
        part = Text(clean(piece.plain))
        for span in piece.spans:
            part.stylize(span.style)
        made.append_text(part)
    return made


def _clean_segment(segment: Segment) -> Segment:
    """A segment without controls and without a link."""
    text, style, _ = segment
    if style and style.link:
        style = style.update_link(None)
    return Segment("\n".join(clean(line, None) for line in text.split("\n")), style)
