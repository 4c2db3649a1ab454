"""``calibrate``, ``experts`` and ``expert``: what the graph holds, what was measured, what its user says of it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..console import FAILED, out, say, write_json
from ..options import Json

POSITION = 51
app = typer.Typer()


@app.command()
def calibrate(
    expert_id: Annotated[str | None, typer.Argument(help="an expert's id; or say --all", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help="every expert of the base that was not measured yet")] = False,
    json_: Json = False,
) -> None:
    """Measure what experts really do: they draw reference prompts, the critic scores them. It goes on where it stopped.

    Examples:  diffgraph calibrate world/sea-life   |   diffgraph calibrate --all
    """
    from ...agents.calibrator import calibrate as measure
    from ...errors import UserError
    from ...settings import Settings
    from ...tools.context import Context
    from ...tools.results import NotMeasured
    from ..progress import Progress

    if (expert_id is None) is not all_:
        raise UserError("Name one expert (`diffgraph experts` lists them), or say --all.")
    with Progress() as progress, Context.open(Settings.load(), progress) as ctx:
        ids = [ctx.store.expert(expert_id).id] if expert_id else None
        done = list(measure(ctx, ids))
        family = ctx.family
    failed = [one for one in done if isinstance(one, NotMeasured)]
    if not done:
        say(f"The graph holds no expert for {family}, so nothing is measured. `diffgraph scout FOLDER` finds some.")
    if json_:
        write_json({"calibrated": [one.model_dump(mode="json") for one in done]})
    else:
        for one in done:
            found = one.failed if isinstance(one, NotMeasured) else f"{one.verdict}, best weight {one.best_weight:.2f}"
            out.line_of(f"{one.expert}: {found}")
    raise typer.Exit(FAILED if failed and len(failed) == len(done) else 0)


@app.command()
def experts(
    family: Annotated[str | None, typer.Option(help="only experts of this architecture")] = None,
    all_: Annotated[bool, typer.Option("--all", help="also those for other architectures than the base's")] = False,
    json_: Json = False,
) -> None:
    """List the experts in the graph that are for the base in force, and what was measured of them on it.

    Examples:  diffgraph experts   |   diffgraph experts --all   |   diffgraph experts --family sdxl --json
    """
    from ...bases import registry
    from ...bases.architecture import UNKNOWN
    from ...graph.store.opening import open_graph
    from ...settings import Settings
    from .. import tables

    settings = Settings.load()
    profile = registry.of_settings(settings)
    with open_graph(settings, profile) as store:
        everyone = store.experts(family)
        measured = {c.expert_id: c for c in store.calibrations()}
    here = everyone if all_ or family else [e for e in everyone if e.base_family in (profile.architecture, UNKNOWN)]
    if json_:
        write_json(tables.experts_json(here, measured))
    elif here:
        out.print(tables.experts(here, measured))
    else:
        say(f"The graph holds no expert for {family or profile.architecture} yet. `diffgraph scout FOLDER` finds some.")
    if len(here) < len(everyone):
        say(f"{len(everyone) - len(here)} more are for other architectures: --all lists them.")


@app.command()
def expert(
    expert_id: Annotated[
        str,
        typer.Argument(
            help="an id, as `diffgraph experts` lists it, or a file's, repository's or other name of it",
            show_default=False,
        ),
    ],
    trigger: Annotated[
        list[str] | None, typer.Option(help="words that call it; repeat it for other groups of words that do")
    ] = None,
    facet: Annotated[str | None, typer.Option(help="what it is about: subject, character, style, clothing, …")] = None,
    weight: Annotated[float | None, typer.Option(help="the weight to use it with")] = None,
    negative: Annotated[str | None, typer.Option(help="what goes into the negative prompt with it")] = None,
    off: Annotated[bool | None, typer.Option("--off/--on", help="leave it out of every choice, or do not")] = None,
    forget: Annotated[bool, typer.Option(help="take back all that you said of it")] = False,
    json_: Json = False,
) -> None:
    """Show one expert: where it is from, what it can do, what was measured; or say of it what you know.

    What you say stands above what was found, and every later scout leaves it alone.

    Examples:

      diffgraph expert folder/pixelart

      diffgraph expert folder/pixelart --trigger "pixel art, 8 bit" --facet style --weight 0.7

      diffgraph expert folder/pixelart --off
    """
    from ...bases import registry
    from ...graph.experts.own_words import OwnWords
    from ...graph.store.opening import open_graph
    from ...settings import Settings
    from ...tools.naming import named
    from .. import own_words, tables

    said = own_words.said(trigger, facet, weight, negative, off)
    settings = Settings.load()
    profile = registry.of_settings(settings)
    with open_graph(settings, profile) as store:
        found = named(store, expert_id, profile.architecture)
        if forget or not said.empty:
            before = OwnWords() if forget else store.own_words(found.id)
            found = store.say(found.id, before.and_then(said))
        own = store.own_words(found.id)
        calibrations, relations = store.calibrations(found.id), store.relations(found.id)
    if json_:
        write_json(tables.expert_json(found, calibrations, relations, own))
    else:
        out.print(tables.expert(found, calibrations, relations, own))
