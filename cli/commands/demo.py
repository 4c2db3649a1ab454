"""``demo``: the whole job on the embedded world, before one's eyes."""

from __future__ import annotations

import typer

from ..options import Count, Seed

POSITION = 60
app = typer.Typer()


@app.command()
def demo(n: Count = 2, seed: Seed = 0) -> None:
    """Show the whole job on the embedded world: scout, calibrate one new expert, draw, and explain on a page.

    Example:  diffgraph demo -n 4
    """
    from ...settings import Settings
    from ..demo import show_all
    from ..progress import Progress

    with Progress() as progress:
        show_all(Settings.load(base="world"), n=n, seed=seed, progress=progress)
