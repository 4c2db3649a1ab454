"""What the critic says of a run's images, for a terminal: a row for each thing that was asked for."""

from __future__ import annotations

from pathlib import Path

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...cleaning import clean
from .atoms import Atom, atoms, critics_of, facets_of_result
from .result import RunResult

LONGEST = 160
"""Characters of a text of somebody's that are shown in a row."""
_STYLES = {True: "green", False: "red", None: "dim"}


def rows(result: RunResult, number: int, indent: int = 2) -> Padding | None:
    """What the critic says of an image of a run; None if there is nothing to say, for nobody has judged it.

    Args:
        number: of the image, from 0.
        indent: columns to leave free at the left.
    """
    if result.scores is None or number >= len(result.scores.images):
        return None
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    made.add_column(style="dim", no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True, justify="right")
    made.add_column(overflow="fold")
    for atom in atoms(result.scores.images[number], facets_of_result(result)):
        made.add_row(*_cells(atom))
    return Padding(made, (0, 0, 0, indent))


def _cells(atom: Atom) -> tuple[Text, ...]:
    style = _STYLES[atom.shown]
    seen = f"seen instead: {_short(atom.seen)}" if atom.seen else "not judged" if atom.shown is None else ""
    return (
        Text(atom.mark, style=f"bold {style}"),
        Text(_short(atom.text)),
        Text(atom.facet),
        Text(atom.bar, style=style),
        Text(atom.number),
        Text(seen),
    )


def _short(text: str) -> str:
    tidy = clean(text)
    return tidy if len(tidy) <= LONGEST else tidy[: LONGEST - 1] + "…"


def by_whom(result: RunResult) -> str:
    """Who judged, as a line says it."""
    if result.scores is None:
        return "nobody"
    return clean(", ".join(critics_of(result.scores.images)) or "a critic whose name was not kept")


def headline(result: RunResult, number: int) -> str:
    """An image's name, and its score where somebody gave it one."""
    path: Path = result.images[number]
    scores = result.scores.images if result.scores else ()
    return f"{path.name}  {scores[number].score:.2f}" if number < len(scores) else path.name
