"""``plan``: say what would be merged, check a plan, compare two, print the schema. No agent is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import FAILED, out, write_json
from ..options import Base, Count, ExpertFolders, Json, Seed
from ..order_options import takes_orders

if TYPE_CHECKING:
    from ...graph.reading.request import Orders
    from ...settings import Settings

POSITION = 20
app = typer.Typer()


@app.command()
@takes_orders
def plan(
    orders: Orders,
    prompt: Annotated[str | None, typer.Argument(help="what to draw, in plain words", show_default=False)] = None,
    n: Count = None,
    seed: Seed = None,
    json_: Json = False,
    check: Annotated[Path | None, typer.Option("--check", help="check this plan against base and experts")] = None,
    diff: Annotated[tuple[Path, Path] | None, typer.Option("--diff", help="say what differs between two plans")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema of plan files")] = False,
    base: Base = None,
    experts: ExpertFolders = None,
) -> None:
    """Say what would be merged for a prompt, and draw nothing. Or check a plan, or compare two.

    Examples:

      diffgraph plan "octopus, blueprint style" --json

      diffgraph plan "a red fox" --expert inkwash:0.7 --without pixelart --size portrait --sampler "Euler a"

      diffgraph plan --check plan.json --experts ~/loras

      diffgraph plan --diff old.json new.json

    Ends with 1 if nothing of the prompt can be drawn, the plan cannot be carried out, or the two plans differ.
    """
    from ...errors import UserError

    asked = [prompt is not None, check is not None, diff is not None, schema]
    if sum(asked) != 1:
        raise UserError("Say one thing: a prompt in quotes, --check PLAN, --diff ONE OTHER, or --schema.")
    if prompt is not None:
        _propose(prompt, n, seed, orders, base, json_)
    elif check is not None:
        _check(check, base, experts, json_)
    elif diff is not None:
        _diff(*diff, json_)
    else:
        from ...merging.plan.merge_plan import json_schema

        write_json(json_schema())


def _propose(prompt: str, n: int | None, seed: int | None, orders: Orders, base: str | None, json_: bool) -> None:
    from ...agents.runs.generate import plan as propose
    from .. import tables
    from ..progress import working

    with working("Reading the prompt against the graph"):
        found = propose(prompt, n=n, seed=seed, orders=orders, base=base)
    write_json(found.to_json()) if json_ else out.print(tables.plan(found))
    raise typer.Exit(0 if found.plan else FAILED)


def _diff(one: Path, other: Path, json_: bool) -> None:
    from ...merging.plan.diff import differences
    from ...tools.plan_inputs import read_plan_file

    before, after = read_plan_file(one), read_plan_file(other)
    changes = differences(before, after)
    if json_:
        ids = {"before": before.plan_id, "after": after.plan_id}
        write_json({**ids, "changes": [change.model_dump(mode="json") for change in changes]})
    else:
        for change in changes:
            out.line_of(change.sentence())
        out.line_of(f"{len(changes)} differences" if changes else f"the same plan, {before.plan_id}")
    raise typer.Exit(FAILED if changes else 0)


def _check(path: Path, base: str | None, experts: list[Path] | None, json_: bool) -> None:
    from ...merging.engine.device_memory import device_memory
    from ...merging.engine.device_rates import measure
    from ...merging.plan.check import check
    from ...merging.plan.memory import Room
    from ...tools.plan_inputs import open_inputs, read_plan_file
    from .. import tables
    from ..progress import working

    made = read_plan_file(path)
    with working("Reading headers"), open_inputs(base, experts, made) as inputs:
        known, settings = inputs.known(made), inputs.ctx.settings
        device = _device(settings)
        report = check(
            made,
            inputs.ctx.machinery.index,
            inputs.finder,
            families=known.families,
            overlaps=known.overlaps,
            licences=known.licences,
            rates=measure(device),
            room=Room.of(inputs.ctx.profile, settings, device_memory(device), made.sampler),
            prompt_limit=inputs.ctx.profile.prompt_limit,
        )
    write_json(report.model_dump(mode="json")) if json_ else tables.check(report)
    raise typer.Exit(0 if report.ok else FAILED)


def _device(settings: Settings) -> str:
    """The device that would merge, without loading torch on a machine that has only a CPU."""
    if settings.device != "auto":
        return settings.device
    return "auto" if Path("/proc/driver/nvidia/version").exists() or Path("/System/Library").exists() else "cpu"
