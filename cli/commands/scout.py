"""``scout``: find experts at a source and register them; once, or again and again."""

from __future__ import annotations

from typing import Annotated

import typer

from ..console import INTERRUPTED, out, write_json
from ..options import Json

POSITION = 50
app = typer.Typer()


@app.command()
def scout(
    source: Annotated[
        str | None,
        typer.Argument(
            help="a source (huggingface, civitai, …), source:repository, or a folder; default: DIFFGRAPH_SOURCES"
        ),
    ] = None,
    query: Annotated[str, typer.Option(help="what to look for, at sources that can search")] = "",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="register at most so many that are new; default: a whole folder, 200 of a hub"),
    ] = None,
    for_: Annotated[
        str, typer.Option("--for", help="at hubs, only experts for this base: sdxl, Pony, owner/name on the Hub")
    ] = "",
    kind: Annotated[
        list[str] | None, typer.Option(help="at hubs, only these kinds in their own words: LORA, Checkpoint; repeat it")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on: take in what changes, until Ctrl-C")] = False,
    every: Annotated[str | None, typer.Option(help="go on, and look once in so long: 30s, 10m, 1h, 1d")] = None,
    again: Annotated[bool, typer.Option("--again", help="ask hubs once more for what they refused before")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="list what earlier looks refused, and why")] = False,
    enrich: Annotated[
        bool, typer.Option("--enrich", help="ask civitai, by hash, what it says of the files of folders scouted before")
    ] = False,
    json_: Json = False,
) -> None:
    """Find experts at a source and register them: card and file header only, no weights.

    A folder may hold loose files and repositories in any mix; what is new, changed, moved or gone since the last time
    is told. Nothing is read twice unless it changed.

    Examples:

      diffgraph scout ~/loras

      diffgraph scout ~/loras --watch

      diffgraph scout --refused

      diffgraph scout huggingface --query "pixel art" --limit 10

      diffgraph scout huggingface:nerijs/pixel-art-xl

      diffgraph scout civitai --for sdxl --query "pixel art" --every 1h

      diffgraph scout civitai:58390@62833

      diffgraph scout civitai --enrich
    """
    from ...errors import UserError
    from ...graph.experts.sources import Search
    from ...settings import Settings
    from .. import scouting

    settings = Settings.load()
    if refused:
        told = scouting.refused(settings, source)
        if json_:
            write_json({"refused": [one.model_dump() for one in told]})
        else:
            scouting.show_refused(told)
        return
    if enrich:
        asked = scouting.enrich(settings, source, again=again)
        if json_:
            write_json(asked.model_dump(mode="json"))
        else:
            out.line_of(scouting.enriched_sentence(asked))
        return
    pause = scouting.seconds(every) if every is not None else scouting.WATCH_SECONDS if watch else None
    if pause is not None and limit is not None:
        raise UserError("--limit is for one look; leave it out with --watch and --every.")
    search = Search(text=query, base=for_, kinds=tuple(kind or ()))
    done, stopped = scouting.run(settings, source, search, limit, pause, again=again)
    if json_:
        write_json(scouting.as_json(done))
    else:
        out.line_of(scouting.sentence(done, looked_on=pause is not None))
        if done.registered:
            scouting.show(done.registered)
    raise typer.Exit(INTERRUPTED if stopped and pause is None else 0)
