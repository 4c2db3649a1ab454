"""A prompt in the chat: the whole machine, told while it works, then how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from rich.status import Status

from ...graph.reading.request import Unmet
from ...terminal import styled
from ...tools.events import Event
from ..runs.generate import generate
from ..runs.result import RunResult
from ..runs.verdict_table import by_whom, headline, rows
from .session import Session

AT_WORK = {
    "planner": "planning",
    "tools": "using tools",
    "check": "checking the plan",
    "merge": "merging",
    "sample": "sampling",
    "critic": "judging",
    "scout": "scouting",
    "calibrator": "calibrating",
    "record": "writing",
    "compare": "drawing the base alone and each expert alone",
}
QUIET = ("start", "node", "step", "tool", "brain", "checked", "finished", "interrupted")
"""Events that get no line of their own."""
COLOURS = {"accepted": "green", "no image": "red"}


def draw(session: Session, prompt: str) -> None:
    """Draw a prompt, and say where the page is."""
    with session.console.status("starting") as status:
        result = generate(
            prompt,
            n=session.n,
            seed=session.seed,
            orders=session.orders,
            context=session.ctx,
            on_event=lambda event: _tell(session, event, status),
        )
    session.last = result
    _show(session, result)


def _tell(session: Session, event: Event, status: Status) -> None:
    if event.kind == "start":
        status.update(AT_WORK.get(event.node, event.node))
    elif event.kind == "step":
        status.update(f"sampling, step {event.done} of {event.total}")
    elif event.kind not in QUIET:
        session.console.print(styled((f"  {event.t or 0.0:6.1f} s ", "dim"), event.text))


def tell_unmet(session: Session, unmet: Sequence[Unmet]) -> None:
    """Say which orders were not obeyed, and why."""
    for order in unmet:
        session.console.print(f"  not obeyed: {order.text}: {order.why}", style="yellow")


def _show(session: Session, result: RunResult) -> None:
    console = session.console
    tell_unmet(session, result.unmet)
    for note in result.notes:
        console.print(f"  {note}", style="yellow")
    console.print(styled((result.status, COLOURS.get(result.status, "yellow")), f" {result.message}"))
    if result.plan and result.plan.experts:
        console.print("  " + ", ".join(f"{e.id} × {e.weight:.2f}" for e in result.plan.experts))
    tell_verdict(session, result)
    console.line_of(styled("  ", (str(result.page), "bold")))


def tell_verdict(session: Session, result: RunResult) -> None:
    """Say of each image what the critic sees in it, and who judged."""
    for number in range(len(result.images)):
        session.console.print(styled("  ", (headline(result, number), "bold")))
        if (told := rows(result, number, indent=4)) is not None:
            session.console.print(told)
    if result.images:
        session.console.print(styled(("  judged by ", "dim"), by_whom(result)))
