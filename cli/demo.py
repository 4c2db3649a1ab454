"""``diffgraph demo``: the whole job before one's eyes, each part real."""

from __future__ import annotations

from ..agents.calibrator import calibrate
from ..agents.runs.generate import generate
from ..agents.scout import scout
from ..errors import ToolFailed
from ..settings import Settings
from ..tools.context import Context
from . import tables
from .console import say
from .progress import Progress

PROMPT = "a soccer ball in blueprint style under a starry night sky"


def show_all(settings: Settings, *, n: int, seed: int, progress: Progress) -> None:
    """Scout the world, calibrate one expert that nobody has measured, draw the prompt, say where everything is.

    Raises:
        ToolFailed: the world has no expert for the prompt, so there is no image.
    """
    with Context.open(settings, progress.emit) as ctx:
        known = len(ctx.store.experts())
        say(f"The graph holds {known} experts. Scouting the embedded world for more:")
        scout(ctx, "world")
        newcomer = _newcomer(ctx)
        if newcomer:
            say(f"{newcomer} was never measured. Calibrating it (it draws reference prompts, the critic scores them):")
            list(calibrate(ctx, [newcomer]))
        else:
            say("Every expert that fits this base is calibrated already.")
        say(f"Drawing: {PROMPT}")
        result = generate(PROMPT, n=n, seed=seed, on_event=progress, context=ctx)
    if not result.images:
        raise ToolFailed(result.message)
    tables.run(result)
    say('Your turn: diffgraph generate "…", or make chat. diffgraph experts lists who can draw what.')


def _newcomer(ctx: Context) -> str | None:
    """An expert of this base that claims skills and that nobody has measured, the last registered first."""
    measured = {(c.expert_id, c.expert_sha256) for c in ctx.store.calibrations()}
    view = ctx.store.view(ctx.family)
    waiting = [e for e in view.experts if e.skills and (e.id, e.sha256) not in measured]
    return max(waiting, key=lambda e: (view.registered[e.id], e.id)).id if waiting else None
