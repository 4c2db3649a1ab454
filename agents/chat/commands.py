"""What may be typed after a slash. A command is a function here, registered under its word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from ...errors import UserError
from ...graph.selection.activation import ActiveExpert, FacetMatch
from ...plugins import closest
from ...terminal import styled
from ...tools.naming import named
from ...tools.results import Rejected
from ..answer import checked_n, checked_seed
from ..runs.generate import plan
from .drawing import tell_unmet, tell_verdict
from .session import Session

NEAR = 0.05
"""Overlaps below this are not worth a line."""


@dataclass(frozen=True)
class Command:
    """``/word``: what it does, in a few words, and the function that does it, given what was typed after the word."""

    word: str
    what: str
    run: Callable[[Session, str], None]


COMMANDS: dict[str, Command] = {}
LEAVE = ("/quit", "/exit", "/q")


def command(word: str, what: str) -> Callable[[Callable[[Session, str], None]], Callable[[Session, str], None]]:
    """Decorator: make a function known as ``/word``; /help lists it."""

    def register(run: Callable[[Session, str], None]) -> Callable[[Session, str], None]:
        COMMANDS[word] = Command(word, what, run)
        return run

    return register


def run_command(session: Session, line: str) -> None:
    """Do what a line that begins with a slash asks for. Raises UserError, with the closest word, for an unknown one."""
    word, _, rest = line.partition(" ")
    if word not in COMMANDS:
        near = closest(word, COMMANDS, n=1)
        raise UserError(f"There is no {word}. " + (f"Did you mean {near[0]}?" if near else "/help lists the commands."))
    COMMANDS[word].run(session, rest.strip())


@command("/experts", "list the experts")
def list_experts(session: Session, rest: str) -> None:
    store = session.ctx.store
    verdicts = {c.expert_id: c.verdict for c in store.calibrations()}
    table = Table(box=None, pad_edge=False)
    for name in ("expert", "kind", "skills", "calibration"):
        table.add_column(name, overflow="fold")
    for expert in store.experts():
        names = [s.name for s in expert.skills]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        table.add_row(expert.id, expert.kind, shown, verdicts.get(expert.id, "not calibrated"))
    session.console.print(table)


@command("/show", "one expert: /show NAME")
def show_expert(session: Session, rest: str) -> None:
    store, console = session.ctx.store, session.console
    expert = named(store, rest, session.ctx.family)
    console.print(styled((expert.title, "bold"), f"  {expert.id}"))
    console.print(
        f"  {expert.kind} for {expert.base_family}, rank {expert.rank}, {expert.size_bytes / 1e6:.1f} MB, "
        f"{expert.licence}"
    )
    console.print("  " + ", ".join(f"{s.trigger} ({s.facet})" for s in expert.skills))
    for c in store.calibrations(expert.id)[-1:]:
        shift = f"; shift {c.strength_shift:.2f}" if c.strength_shift is not None else ""
        steady = f", consistency {c.consistency:.2f}" if c.consistency is not None else ""
        console.print(f"  {c.verdict}; best at {c.best_weight:g}{shift}{steady}")
        if c.coarse != 1.0:
            console.print(f"  beside a subject best with {c.coarse:.0%} of its weight in the coarsest blocks")
    for r in store.relations(expert.id):
        if r.kind != "overlap" or abs(r.value) >= NEAR:
            console.print(f"  {r.kind} with {r.other(expert.id)}: {r.value:.2f}")


@command("/plan", "what would be merged: /plan PROMPT")
def show_plan(session: Session, rest: str) -> None:
    found = plan(rest, n=session.n, seed=session.seed, orders=session.orders, context=session.ctx)
    for f in found.facets:
        session.console.print(f"  {f.facet}: {f.trigger} by {f.by}")
    for e in found.experts:
        session.console.print(f"  {e.id} × {e.weight:.2f}")
    for text in found.uncovered:
        session.console.print(f"  nothing here draws {text!r}", style="yellow")
    tell_unmet(session, found.unmet)
    if found.plan is not None:
        session.console.print(f"  prompt {found.plan.prompt}")


@command("/why", "why these experts, and what was passed over: /why PROMPT; alone: of the last images")
def show_why(session: Session, rest: str) -> None:
    if not rest:
        _why_the_last(session)
        return
    found = plan(rest, n=session.n, seed=session.seed, orders=session.orders, context=session.ctx)
    _why(session, found.facets, found.experts, found.rejected)


def _why_the_last(session: Session) -> None:
    """Why the last images are as they are: who drew them, what the critic sees in them, and how the rounds went."""
    last = session.last
    if last is None:
        raise UserError("Nothing was drawn yet. Type what to draw, or /why PROMPT to hear what would be merged for it.")
    session.console.print(styled((last.status, "bold"), f" {last.message}"))
    if last.activation is not None:
        _why(session, last.activation.facets, last.activation.experts, last.activation.rejected)
    tell_verdict(session, last)
    for number, each in enumerate(last.rounds, 1):
        session.console.print(f"  round {number}: {each.score:.2f}; {' '.join(each.findings) or 'nothing was amiss'}")


def _why(
    session: Session, facets: Sequence[FacetMatch], experts: Sequence[ActiveExpert], rejected: Sequence[Rejected]
) -> None:
    drawn = {f.by: f for f in facets}
    for e in experts:
        said = f"it draws {drawn[e.id].text!r}" if e.id in drawn else "it was ordered" if e.ordered else ""
        measured = "measured" if e.calibrated else "not measured yet"
        session.console.print(f"  {e.id} × {e.weight:.2f}: {'; '.join(w for w in (said, *e.why, measured) if w)}")
    if not experts:
        session.console.print("  the base alone")
    for one in rejected:
        session.console.print(f"  passed over {one.id}: {one.why}")


@command("/seed", "the first seed: /seed 7")
def set_seed(session: Session, rest: str) -> None:
    session.seed = checked_seed(_number(rest, "/seed"))
    session.console.print(f"seed {session.seed}")


@command("/n", "images a prompt: /n 4")
def set_n(session: Session, rest: str) -> None:
    session.n = checked_n(_number(rest, "/n"))
    session.console.print(f"{session.n} image{'s' if session.n > 1 else ''} a prompt")


@command("/help", "this list")
def show_help(session: Session, rest: str) -> None:
    session.console.print('Type what to draw, for example "soccer ball, blueprint style, starry night background".')
    for each in COMMANDS.values():
        session.console.print(styled("  ", (f"{each.word:<9}", "bold"), f" {each.what}"))
    session.console.print(styled("  ", (f"{LEAVE[0]:<9}", "bold"), " leave (Ctrl-D does too)"))


def _number(text: str, word: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{word} takes a whole number, as in {word} 3.") from error
