"""``base``: which bases are known here, and which one is drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..console import out, say, write_json
from ..options import Json

if TYPE_CHECKING:
    from ...bases.profile import BaseProfile

POSITION = 45
app = typer.Typer(
    name="base", no_args_is_help=True, help="The bases that are known here: add, list, show, use, remove."
)
Name = Annotated[str, typer.Argument(help="a name, as `diffgraph base list` says it", show_default=False)]


@app.command()
def add(
    place: Annotated[
        str,
        typer.Argument(
            help="a diffusers folder, a .safetensors file, or an id on the Hub (owner/name or owner/name@revision)",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="what to call it; default: after its place")] = "",
    parts: Annotated[
        str | None,
        typer.Option(
            help="a diffusers folder, Hub id or known base that has what a single file lacks; default: looked for"
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Make a base of yours known, so that it can be drawn with. Its weights stay where they are; a single file is
    converted once into a diffusers folder in the home.

    Examples:

      diffgraph base add ~/models/my-sdxl

      diffgraph base add ~/models/juggernautXL.safetensors --name juggernaut

      diffgraph base add ~/models/flux-dream.safetensors --parts ~/models/FLUX.1-dev

      diffgraph base add stabilityai/stable-diffusion-xl-base-1.0

    The first base added is drawn with from then on; `diffgraph base use NAME` takes another. Next: diffgraph scout
    ~/loras, then diffgraph generate "a red fox in the snow".
    """
    from ...bases import registry
    from ...settings import Settings
    from .. import tables
    from ..progress import working

    settings = Settings.load()
    with working("Looking at the base"):
        wanted = parts or settings.base_parts or ""
        found = registry.add(place, settings.root, name=name, parts=wanted, tell=say)
    if json_:
        write_json(found_json(found))
        return
    out.print(tables.base(found))
    used = registry.default_of(settings.root) == found.name
    what = "is drawn with from here on" if used else f"is known; `diffgraph base use {found.name}` draws with it"
    say(f"{found.name} {what}.")


@app.command("list")
def list_(json_: Json = False) -> None:
    """List the bases that are known here, and which one is drawn with.

    Example:  diffgraph base list
    """
    from ...bases import registry
    from ...settings import Settings
    from .. import tables

    settings = Settings.load()
    rows = registry.listed(settings.base, settings.root)
    if json_:
        write_json({"bases": [row.model_dump(mode="json") for row in rows]})
    elif rows:
        out.print(tables.bases(rows))
    else:
        say("No base is known here yet. `diffgraph base add PATH_OR_ID` makes one known.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="a name; default: the base in force", show_default=False)] = "",
    json_: Json = False,
) -> None:
    """Show a base: where it is, its architecture and family, and how it draws.

    Examples:  diffgraph base show   |   diffgraph base show juggernaut --json
    """
    from ...bases import registry
    from ...settings import Settings
    from .. import tables

    settings = Settings.load()
    found = registry.chosen(name or settings.base, settings.root)
    write_json(found_json(found)) if json_ else out.print(tables.base(found))


@app.command()
def use(name: Name, json_: Json = False) -> None:
    """Draw with this base where DIFFGRAPH_BASE names none.

    Example:  diffgraph base use juggernaut
    """
    from ...bases import registry
    from ...settings import Settings

    settings = Settings.load()
    registry.use(name, settings.root)
    if settings.base and settings.base != name:
        say(f"DIFFGRAPH_BASE={settings.base} still goes before it: unset it.")
    write_json({"default": name}) if json_ else out.line_of(f"{name} is drawn with from here on.")


@app.command()
def remove(name: Name, json_: Json = False) -> None:
    """Forget a base. Its files stay where they are; what was converted of a single file is deleted.

    Example:  diffgraph base remove juggernaut
    """
    from ...bases import registry
    from ...settings import Settings

    gone = registry.remove(name, Settings.load().root)
    write_json({"removed": name}) if json_ else out.line_of(f"{name} is forgotten; {gone.where} stays as it is.")


def found_json(found: BaseProfile) -> dict[str, object]:
    """The document of ``base add`` and ``base show``."""
    fields = {
        "name", "kind", "where", "origin", "key", "ref", "title", "architecture", "ecosystem", "family", "vocabulary",
        "sizes", "sampler", "steps", "guidance", "negative_prompt", "prompt_limit", "memory",
    }  # fmt: skip
    return found.model_dump(mode="json", include=fields)
