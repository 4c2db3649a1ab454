"""``diffgraph demo``: the whole job before one's eyes, each part real."""

from __future__ import annotations

from ..agents.calibrator import calibrate
from ..agents.runs.generate import generate
from ..agents.scout import scout
from ..bases import registry
from ..errors import ToolFailed, UserError
from ..settings import Settings
from ..tools.context import Context
from . import tables
from .console import say
from .progress import Progress


def settings_in_force() -> Settings:
    """The user's settings, but for the base: the demo is the default base's. Raises UserError if there is none."""
    return Settings.load(base=registry.default_name())


def show_all(settings: Settings, *, n: int, seed: int, progress: Progress) -> None:
    """Scout where the base says, calibrate one expert that nobody has measured, draw the base's prompt, say where
    everything is.

    Raises:
        UserError: the base has nothing to show.
        ToolFailed: there is no expert for the prompt, so there is no image.
    """
    with Context.open(settings, progress) as ctx:
        base = ctx.profile
        if base.demo is None:
            raise UserError(f"{base.title or base.name} brings no demo. `diffgraph generate` draws what you say.")
        say(f"The graph holds {len(ctx.store.experts())} experts. Scouting {base.title or base.name} for more:")
        for source in base.sources:
            scout(ctx, source.partition(":")[0])
        newcomer = _newcomer(ctx)
        if newcomer:
            say(f"{newcomer} was never measured. Calibrating it (it draws reference prompts, the critic scores them):")
            list(calibrate(ctx, [newcomer]))
        else:
            say("Every expert that fits this base is calibrated already.")
        say(f"Drawing: {base.demo.prompt}")
        result = generate(base.demo.prompt, n=n, first_seed=seed, on_event=progress, context=ctx)
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
