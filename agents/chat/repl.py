"""The chat: type a prompt, watch the machine work, find the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from ...errors import DiffGraphError, UserError
from ...plugins import closest
from ...settings import Settings
from ...tools.context import Context
from ..answer import checked_n, checked_seed
from ..runs.generate import RunResult, generate, plan

SAYS = {
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
QUIET = ("start", "node", "step", "tool", "brain", "checked", "finished")


@dataclass
class Chat:
    """One session: a context, a seed, a number of images."""

    ctx: Context
    console: Console
    seed: int = 0
    n: int = 1

    def run(self, line: str) -> bool:
        """Do what a line asks for; False ends the session."""
        line = line.strip()
        if not line:
            return True
        if not line.startswith("/"):
            self.draw(line)
            return True
        word, _, rest = line.partition(" ")
        if word in ("/quit", "/exit", "/q"):
            return False
        if word not in COMMANDS:
            near = closest(word, COMMANDS, n=1)
            self.console.print(
                f"There is no {escape(word)}. " + (f"Did you mean {near[0]}?" if near else "/help lists the commands.")
            )
            return True
        COMMANDS[word][1](self, rest.strip())
        return True

    def draw(self, prompt: str) -> None:
        """A prompt: the whole machine."""
        with self.console.status("starting") as status:
            result = generate(
                prompt, n=self.n, seed=self.seed, context=self.ctx, on_event=lambda e: self._event(e, status)
            )
        self._show(result)

    def _event(self, event: dict[str, Any], status: Status) -> None:
        if event["kind"] == "start":
            status.update(SAYS.get(event["node"], event["node"]))
        elif event["kind"] == "step":
            status.update(f"sampling, step {event['done']} of {event['total']}")
        elif event["kind"] not in QUIET:
            self.console.print(f"  [dim]{event['t']:6.1f} s[/] {escape(event['text'])}", highlight=False)

    def _show(self, result: RunResult) -> None:
        for note in result.notes:
            self.console.print(f"  [yellow]{escape(note)}[/]")
        colour = {"accepted": "green", "no image": "red"}.get(result.status, "yellow")
        self.console.print(f"[{colour}]{result.status}[/] {escape(result.message)}")
        if result.plan and result.plan.experts:
            self.console.print("  " + escape(", ".join(f"{e.id} × {e.weight:.2f}" for e in result.plan.experts)))
        self.console.print(f"  [bold]{escape(str(result.page))}[/]", soft_wrap=True, highlight=False)

    def experts(self, rest: str) -> None:
        verdicts = {c.expert_id: c for c in self.ctx.store.calibrations()}
        table = Table(box=None, pad_edge=False)
        for name in ("expert", "kind", "skills", "calibration"):
            table.add_column(name, overflow="fold")
        for expert in self.ctx.store.experts():
            names = [s.name for s in expert.skills]
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            found = verdicts.get(expert.id)
            table.add_row(escape(expert.id), expert.kind, escape(shown), found.verdict if found else "not calibrated")
        self.console.print(table)

    def expert(self, rest: str) -> None:
        expert = self.ctx.store.expert(rest)
        self.console.print(f"[bold]{escape(expert.title)}[/]  {escape(expert.id)}", highlight=False)
        self.console.print(
            f"  {expert.kind} for {expert.base_family}, rank {expert.rank}, {expert.size_bytes / 1e6:.1f} MB, "
            f"{escape(expert.licence)}"
        )
        self.console.print("  " + escape(", ".join(f"{s.trigger} ({s.facet})" for s in expert.skills)))
        for c in self.ctx.store.calibrations(expert.id)[-1:]:
            self.console.print(
                f"  {c.verdict}; best at {c.best_weight:g}; shift {c.strength_shift:.2f}, "
                f"consistency {c.consistency:.2f}"
            )
            if c.coarse != 1.0:
                self.console.print(f"  beside a subject best with {c.coarse:.0%} of its weight in the coarsest blocks")
        for r in self.ctx.store.relations(expert.id):
            if r.kind != "overlap" or abs(r.value) >= 0.05:
                self.console.print(f"  {r.kind} with {escape(r.other(expert.id))}: {r.value:.2f}")

    def plan(self, rest: str) -> None:
        found = plan(rest, n=self.n, seed=self.seed, context=self.ctx)
        for f in found["facets"]:
            self.console.print(f"  {f['facet']}: {escape(f['trigger'])} by {escape(str(f['by']))}", highlight=False)
        for e in found["experts"]:
            self.console.print(f"  {escape(e['id'])} × {e['weight']:.2f}", highlight=False)
        for text in found["uncovered"]:
            self.console.print(f"  [yellow]nothing here draws {escape(repr(text))}[/]")

    def set_seed(self, rest: str) -> None:
        self.seed = checked_seed(_number(rest, "/seed"))
        self.console.print(f"seed {self.seed}")

    def set_n(self, rest: str) -> None:
        self.n = checked_n(_number(rest, "/n"))
        self.console.print(f"{self.n} image{'s' if self.n > 1 else ''} a prompt")

    def help(self, rest: str) -> None:
        self.console.print('Type what to draw, for example "soccer ball, blueprint style, starry night background".')
        for word, (what, _) in COMMANDS.items():
            self.console.print(f"  [bold]{word:<9}[/] {what}")


COMMANDS: dict[str, tuple[str, Callable[[Chat, str], None]]] = {
    "/experts": ("list the experts", Chat.experts),
    "/expert": ("one expert: /expert ID", Chat.expert),
    "/plan": ("what would be merged: /plan PROMPT", Chat.plan),
    "/seed": ("the first seed: /seed 7", Chat.set_seed),
    "/n": ("images a prompt: /n 4", Chat.set_n),
    "/help": ("this list", Chat.help),
    "/quit": ("leave (Ctrl-D does too)", Chat.help),
}


def _number(text: str, command: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{command} takes a whole number, as in {command} 3.") from error


def chat(
    settings: Settings | None = None, *, console: Console | None = None, read: Callable[[str], str] | None = None
) -> None:
    """Read lines until /quit or the end of input. An error is a line, and the session goes on; Ctrl-C stops the
    request at work.

    Args:
        read: where lines come from (asked with the prompt sign); None asks the terminal, with history and completion.
    """
    settings = settings or Settings.load()
    console = console or Console()
    with Context.open(settings) as ctx:
        session = Chat(ctx, console)
        ask = read or _terminal(settings)
        console.print("Type what to draw; /help lists the commands.")
        while True:
            try:
                line = ask("› ")
            except EOFError:
                return
            except KeyboardInterrupt:
                continue
            try:
                if not session.run(line):
                    return
            except DiffGraphError as error:
                console.print(f"[red]{escape(str(error))}[/]")
            except KeyboardInterrupt:
                console.print(
                    "Stopped. Nothing that was finished is lost: the same prompt goes on from what was drawn."
                )


def _terminal(settings: Settings) -> Callable[[str], str]:
    words = WordCompleter(sorted(COMMANDS), sentence=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(settings.root / "history")), completer=words)
    return session.prompt
