"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Prompt = Annotated[str, typer.Argument(help="what to draw, in plain words", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")]
Count = Annotated[int | None, typer.Option("-n", "--n", help="how many images; default: as the prompt says, or 1")]
Seed = Annotated[
    int | None, typer.Option(help="the first image's seed, kept in every round; the others follow it; default: any")
]
Base = Annotated[
    str | None, typer.Option("--base", help="a base by name, folder, file or Hub id; default: DIFFGRAPH_BASE")
]
ExpertFolders = Annotated[
    list[Path] | None,
    typer.Option("--experts", help="a folder to look for the experts' files in, by sha256 (repeatable)"),
]
PlanFile = Annotated[Path, typer.Argument(help="a plan, or an image of ours that carries one", show_default=False)]
