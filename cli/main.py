"""The ``diffgraph`` command: its version, its environment, and the commands of `diffgraph.cli.commands`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from .. import __version__
from . import commands
from .console import Commands, clean_other_ways, out

app = typer.Typer(
    cls=Commands,
    name="diffgraph",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Agents that find, calibrate, merge and judge community text-to-image experts, prompt by prompt.\n\n"
    'Start with:  diffgraph generate "soccer ball, blueprint style, starry night background"\n\n'
    "Settings come from DIFFGRAPH_… variables and .env; diffgraph doctor prints them.",
)

ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ANONYMIZED_TELEMETRY": "False",
}
"""Read by libraries when they are imported: nobody is phoned, and their remarks stay out of our lines."""


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"diffgraph {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


commands.add_to(app)


def main() -> None:
    """Entry point of the console script."""
    clean_other_ways()
    typer.main.get_command(app)()


if __name__ == "__main__":
    main()
