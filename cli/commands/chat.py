"""``chat``: the same in a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ..options import Base, Count, Seed
from ..order_options import takes_orders

if TYPE_CHECKING:
    from ...graph.reading.request import Orders

POSITION = 40
app = typer.Typer()


@app.command()
@takes_orders
def chat(orders: Orders, n: Count = None, seed: Seed = None, base: Base = None) -> None:
    """Talk to DiffGraph: type what to draw; /help lists the commands. What is ordered here holds for every prompt.

    Examples:

      diffgraph chat

      diffgraph chat --base my-sdxl --size portrait --expert inkwash:0.7
    """
    from ...agents.chat.repl import chat as talk
    from ...settings import Settings

    talk(Settings.load(base=base), orders=orders, seed=seed, n=n)
