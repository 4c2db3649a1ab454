"""``demo``: the whole job on the base that comes along, before one's eyes."""

from __future__ import annotations

import typer

from ..options import Count, Seed

POSITION = 60
app = typer.Typer()


@app.command()
def demo(n: Count = None, seed: Seed = None) -> None:
    """Show the whole job on the base that comes along: scout, calibrate one new expert, draw, and explain on a page.

    Example:  diffgraph demo -n 4
    """
    from ..demo import settings_in_force, show_all
    from ..progress import Progress

    with Progress() as progress:
        show_all(settings_in_force(), n=n or 2, seed=seed or 0, progress=progress)
