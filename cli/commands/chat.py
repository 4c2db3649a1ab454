"""``chat``: the same in a conversation."""

from __future__ import annotations

import typer

POSITION = 40
app = typer.Typer()


@app.command()
def chat() -> None:
    """Talk to DiffGraph: type what to draw; /help lists the commands.

    Example:  diffgraph chat
    """
    from ...agents.chat.repl import chat as talk
    from ...settings import Settings

    talk(Settings.load())
