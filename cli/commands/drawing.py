"""``generate`` and ``resume``: from a prompt to a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import FAILED, INTERRUPTED, say, write_json
from ..options import Base, Count, Json, Prompt, Seed
from ..order_options import takes_orders

if TYPE_CHECKING:
    from ...agents.runs.result import RunResult
    from ...graph.reading.request import Orders
    from ..progress import Progress

POSITION = 10
app = typer.Typer()


@app.command()
@takes_orders
def generate(
    prompt: Prompt,
    orders: Orders,
    n: Count = None,
    seed: Seed = None,
    base: Base = None,
    out_: Annotated[
        Path | None,
        typer.Option("--out", help="run folder (new, empty, or an earlier run); default under DIFFGRAPH_HOME"),
    ] = None,
    json_: Json = False,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="also draw the base alone and each expert alone, for the page"),
    ] = True,
) -> None:
    """Draw a prompt: choose experts, merge, sample, judge; print where the images and the page are.

    Examples:

      diffgraph generate "soccer ball, blueprint style, starry night background" -n 4

      diffgraph generate "a pizza in pixel art" --seed 7 --json

      diffgraph generate "a red fox" --expert inkwash:0.7 --size 832x1216 --steps 28 --negative "blurred, text"

    Ends with 0 if there are images, 1 if there are none.
    """
    from ...agents.runs.generate import generate as draw

    with _resumable() as progress:
        result = draw(prompt, n=n, seed=seed, orders=orders, base=base, out=out_, on_event=progress, compare=compare)
    _show(result, json_)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="the run folder", show_default=False)],
    json_: Json = False,
) -> None:
    """Go on with a run that was interrupted; nothing that was done is done again.

    Example:  diffgraph resume ~/.diffgraph/runs/0007-octopus
    """
    from ...agents.runs.generate import resume as go_on
    from ...settings import Settings

    with _resumable() as progress:
        result = go_on(run, settings=Settings.load(), on_event=progress)
    _show(result, json_)


@contextmanager
def _resumable() -> Iterator[Progress]:
    """Progress of a request; Ctrl-C says how to go on, and leaves."""
    from ..progress import Progress

    with Progress() as progress:
        try:
            yield progress
        except KeyboardInterrupt as stop:
            more = f" Go on with: diffgraph resume {progress.folder}" if progress.folder else ""
            say(f"Stopped. What was finished is kept.{more}")
            raise typer.Exit(INTERRUPTED) from stop


def _show(result: RunResult, json_: bool) -> None:
    from .. import tables

    write_json(result.to_json()) if json_ else tables.run(result)
    raise typer.Exit(0 if result.images else FAILED)
