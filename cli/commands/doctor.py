"""``doctor``: what is there, what needs mending, which settings are in force."""

from __future__ import annotations

import typer

from ..console import FAILED, out, write_json
from ..options import Json

POSITION = 80
app = typer.Typer()


@app.command()
def doctor(json_: Json = False) -> None:
    """Check the machine, the home, the base, the graph, the critic and the brain; print the settings in force.

    Ends with 1 if something needs doing.

    Example:  diffgraph doctor --json
    """
    from ...settings import Settings
    from .. import tables
    from ..doctor import as_json, examine, settings_rows
    from ..progress import working

    settings = Settings.load()
    with working("Looking at everything"):
        checks = examine(settings)
    if json_:
        write_json(as_json(settings, checks))
    else:
        for check in checks:
            out.line_of(f"{'ok  ' if check.ok else 'MEND'} {check.name:<14} {check.text}")
        out.print()
        out.print(tables.settings(settings_rows(settings)))
    raise typer.Exit(0 if all(check.ok for check in checks) else FAILED)
