"""``recipe``: read how an image was made, by whichever program, and plan the same with the experts that are here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import FAILED, out, write_json
from ..options import Base, ExpertFolders, Json
from ..tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ...merging.plan.foreign.recipe import ForeignBase, ForeignRecipe
    from ...tools.recipe_plan import RecipePlan

POSITION = 25
app = typer.Typer()
_FIELDS = (
    "prompt", "negative_prompt", "seed", "steps", "guidance", "distilled_guidance", "sampler", "scheduler", "clip_skip",
)  # fmt: skip


@app.command()
def recipe(
    image: Annotated[Path, typer.Argument(help="a PNG, JPEG or WebP, as the program saved it", show_default=False)],
    out_: Annotated[Path | None, typer.Option("--out", help="write the plan here; plan --check takes it")] = None,
    base: Base = None,
    experts: ExpertFolders = None,
    json_: Json = False,
) -> None:
    """Read how an image was made elsewhere, find its experts here, and make a plan of it.

    Understood: A1111, Forge, SD.Next, ComfyUI, InvokeAI, Fooocus, SwarmUI, NovelAI, Civitai, DiffGraph. Experts are
    known by hash first, by name second; what a plan cannot hold is named.

    Examples:

      diffgraph recipe image.png --experts ~/loras --out plan.json

      diffgraph recipe image.png --json

    Ends with 0 if every expert was found, with 1 if one is missing or there is no base to plan for.
    """
    from ...merging.plan.foreign.reader import read_recipe
    from ..progress import Progress

    found = read_recipe(image)
    with Progress() as progress:
        made = _planned(found, base, experts or [], progress.count)
    if out_ is not None and made.plan is not None:
        made.plan.save(out_)
    if json_:
        plan_id = made.plan.plan_id if made.plan else None
        write_json({"plan_id": plan_id, **made.model_dump(mode="json")})
    else:
        out.print(_said(found))
        if made.experts:
            out.print(_experts(made))
        _remarks(made, out_)
    raise typer.Exit(0 if made.plan is not None and made.complete else FAILED)


def _planned(
    found: ForeignRecipe, base: str | None, folders: list[Path], count: Callable[[int, int, str], None]
) -> RecipePlan:
    """The plan for the base in force; none, with the reason, where there is no base."""
    from ...errors import UserError
    from ...settings import Settings
    from ...tools.context import Context
    from ...tools.recipe_plan import plan_of_recipe, without_base

    with ExitStack() as stack:
        try:
            ctx = stack.enter_context(Context.open(Settings.load(base=base)))
            _ = ctx.machinery.base
        except UserError as error:
            if base is not None:
                raise
            return without_base(found, error)
        return plan_of_recipe(ctx, found, folders, lambda at, all_: count(at, all_, "files compared by hash"))


def _said(found: ForeignRecipe) -> RenderableType:
    """What the image says, one field a line."""
    rows = table("image", "")
    rows.add_row("made by", " ".join(filter(None, (found.tool, found.tool_version))))
    rows.add_row("base", _base(found.base))
    for field in _FIELDS:
        value = getattr(found, field)
        if value not in (None, ""):
            rows.add_row(field.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value))
    if found.width and found.height:
        rows.add_row("size", f"{found.width}x{found.height}")
    return rows


def _base(said: ForeignBase) -> str:
    about = [f"hash {one[:12]}" for one in said.hashes] + ([said.where] if said.where else [])
    return (said.name or "not named") + (f" ({', '.join(about)})" if about else "")


def _experts(made: RecipePlan) -> RenderableType:
    """What became of each expert."""
    rows = table("expert in the image", "weight (/ on text encoders)", "here", "by")
    for match in made.experts:
        named = match.named
        weights = [weight for weight in (named.weight, named.clip_weight) if weight is not None]
        called = named.name or named.where or named.hashes[0]
        rows.add_row(called, " / ".join(f"{weight:g}" for weight in weights), match.expert or "-", match.by)
    return rows


def _remarks(made: RecipePlan, path: Path | None) -> None:
    for match in made.experts:
        if match.said:
            out.line_of(match.said)
    for one in made.left_out:
        out.line_of(f"left out: {one.name}: {one.value}")
    for note in made.notes:
        out.line_of(f"note: {note}")
    if made.plan is not None:
        out.line_of(f"plan {made.plan.plan_id}" + (f" in {path}" if path else "; --out FILE keeps it"))
