"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..settings import Settings

Prompt = Annotated[str, typer.Argument(help="what to draw, in plain words", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")]
Count = Annotated[int, typer.Option("-n", "--n", help="how many images")]
Seed = Annotated[int, typer.Option(help="the first image's seed; the others follow it")]
MethodName = Annotated[str | None, typer.Option("--method", help="merge method, e.g. linear, ties, np_lora")]
Base = Annotated[str | None, typer.Option("--base", help="the base pipeline's folder; default: DIFFGRAPH_BASE")]
ExpertFolders = Annotated[
    list[Path] | None,
    typer.Option("--experts", help="a folder to look for the experts' files in, by sha256 (repeatable)"),
]
PlanFile = Annotated[Path, typer.Argument(help="a plan, or an image of ours that carries one", show_default=False)]


def settings_with(method: str | None) -> Settings:
    """The settings, with a merge method that exists. Raises UserError, with the closest, for one that does not."""
    from ..errors import PlanError, UserError
    from ..merging.methods.method import make
    from ..merging.plan.merge_plan import Method
    from ..settings import Settings

    settings = Settings.load(method=method)
    try:
        make(Method(name=settings.method))
    except PlanError as error:
        raise UserError(str(error)) from error
    return settings
