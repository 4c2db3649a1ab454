"""``scout``, ``calibrate``, ``experts`` and ``expert``: what the graph holds and how it gets there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...settings import user_path
from ..console import FAILED, out, say, write_json
from ..options import Json

POSITION = 50
app = typer.Typer()
_NO_SOURCE = (
    "No source is set for {base}: say where the experts are, as in `diffgraph scout ~/loras` or `diffgraph scout "
    "huggingface --query ...`, or set DIFFGRAPH_SOURCES."
)


@app.command()
def scout(
    source: Annotated[
        str | None,
        typer.Argument(help="a source (huggingface, …), source:repository, or a folder; default: DIFFGRAPH_SOURCES"),
    ] = None,
    query: Annotated[str, typer.Option(help="what to look for, at sources that can search")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="register at most so many new repositories")] = 200,
    json_: Json = False,
) -> None:
    """Find experts at a source and register them: card and file header only, no weights.

    Examples:

      diffgraph scout ~/loras

      diffgraph scout huggingface --query "pixel art" --limit 10

      diffgraph scout huggingface:nerijs/pixel-art-xl
    """
    from ...agents.scout import scout as look
    from ...errors import UserError
    from ...graph.experts import sources
    from ...graph.experts.registration import register
    from ...settings import Settings
    from ...tools.context import Context
    from ...tools.register_experts import register_new
    from ...tools.results import Refused
    from .. import tables
    from ..progress import Progress

    with Progress() as progress, Context.open(Settings.load(), progress) as ctx:
        name, _, repo = (source or "").partition(":")
        refused: list[Refused] = []
        if source and user_path(source).is_dir():
            found, refused = register_new(ctx, sources.get("folder", root=Path(source)), query, limit)
        elif repo:
            found = register(ctx.source(name), repo)
            ctx.store.add_experts(found)
        else:
            if not source and not ctx.source_names:
                raise UserError(_NO_SOURCE.format(base=ctx.profile.name))
            found, refused = look(ctx, source, query, limit=limit)
    if json_:
        write_json({"registered": [e.id for e in found], "refused": [one.model_dump() for one in refused]})
        return
    out.print(
        f"{len(found)} new, {len(refused)} refused. {'diffgraph calibrate --all measures them.' if found else ''}"
    )
    if found:
        out.print(tables.experts(found, {}))


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
    expert_id: Annotated[str, typer.Argument(help="an id, as `diffgraph experts` lists it", show_default=False)],
    json_: Json = False,
) -> None:
    """Show one expert: where it is from, what it says it can do, what was measured, how it stands to others.

    Example:  diffgraph expert world/sea-life
    """
    from ...graph.store.opening import open_graph
    from ...settings import Settings
    from .. import tables

    with open_graph(Settings.load()) as store:
        found = store.expert(expert_id)
        calibrations, relations = store.calibrations(expert_id), store.relations(expert_id)
    if json_:
        write_json(tables.expert_json(found, calibrations, relations))
    else:
        out.print(tables.expert(found, calibrations, relations))
