"""What happens during a request, told while it happens."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """One thing that happened.

    Attributes:
        kind: what sort of thing ("node", "merged", "tool failed", …).
        text: a sentence for a person.
        t: seconds of work since the request began; None where nobody keeps time.
        node, seconds, goto: of a step of the machine: its name, how long it took, where it leads.
        agent: whose brain it is about.
        done, total: how far a long piece of work is.
        folder: the run folder of an interrupted request.

    Whoever tells an event may add details of its own, plain JSON.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
    text: str
    t: float | None = None
    node: str = ""
    seconds: float = 0.0
    goto: str = ""
    agent: str = ""
    done: int = 0
    total: int | None = None
    folder: str = ""


Emit = Callable[[Event], None]
"""Whoever is told of events."""


def silent(event: Event) -> None:
    """An :data:`Emit` that tells nobody."""
