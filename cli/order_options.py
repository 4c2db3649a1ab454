"""The options by which a person orders what goes into a plan; the commands that draw and plan share them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from ..graph.reading.request import Orders

PANEL = "Orders (they win over those typed in the prompt)"


def _option(help_: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_, metavar=metavar, rich_help_panel=PANEL, show_default=False)


def _options(
    negative: Annotated[str | None, _option("what the image is not to show, in your words")] = None,
    size: Annotated[
        str | None, _option("832x1216, a format (16:9), portrait, landscape, square", metavar="SIZE")
    ] = None,
    steps: Annotated[int | None, _option("sampling steps")] = None,
    guidance: Annotated[float | None, _option("guidance scale (CFG)")] = None,
    sampler: Annotated[str | None, _option("euler_a, dpmpp_2m, unipc, …; A1111's names do as well")] = None,
    clip_skip: Annotated[int | None, _option("as A1111 counts: 1 is CLIP's last layer, 2 the last but one")] = None,
    vae: Annotated[str | None, _option("another VAE: a .safetensors file or a folder", metavar="PATH")] = None,
    expert: Annotated[
        list[str] | None,
        _option(
            "merge this expert: its id, file's name or repository, with a weight or not (repeatable)",
            metavar="NAME[:W]",
        ),
    ] = None,
    without: Annotated[list[str] | None, _option("never merge this expert (repeatable)", metavar="NAME")] = None,
    method: Annotated[str | None, _option("merge method, e.g. linear, ties, np_lora")] = None,
) -> None:
    """What may be ordered."""  # fmt: skip


def takes_orders(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: give a command these options in place of its parameter ``orders``, which gets what they say.

    Typer reads a command's signature, so the options are written into it.
    """
    hints = get_type_hints(_options, include_extras=True)
    of_command = get_type_hints(command, localns={"Orders": object}, include_extras=True)
    added = [p.replace(annotation=hints[p.name]) for p in inspect.signature(_options).parameters.values()]
    own = inspect.signature(command)
    kept = [p.replace(annotation=of_command[p.name]) for p in own.parameters.values() if p.name != "orders"]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        said = {p.name: values.pop(p.name) for p in added}
        command(**values, orders=_orders(said))

    signature = own.replace(parameters=[p.replace(kind=p.KEYWORD_ONLY) for p in (*kept, *added)])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run


def _orders(said: dict[str, Any]) -> Orders:
    from ..graph.reading.said_orders import orders_of

    said["experts"] = said.pop("expert")
    return orders_of(said)  # type: ignore[arg-type]
