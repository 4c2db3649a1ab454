"""Tool: a brain that reads better than the rule may split the user's request into atoms."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..errors import ToolFailed
from ..scoring.atoms import MOST, cleaned
from ..scoring.request import Wanted
from .context import Context
from .results import Atoms
from .tool import Args, tool

_Facet = Literal[
    "subject", "count", "attribute", "relation", "style", "background", "clothing", "action", "concept", "text"
]


class Atom(Args):
    facet: _Facet
    text: str = Field(min_length=1, max_length=160, description="in the user's own words, without an article")


class SplitArgs(Args):
    atoms: list[Atom] = Field(min_length=1, max_length=MOST, description="single things that can be seen in an image")


@tool("split_request", agents=("critic",), writes="atoms", vocabulary="open")
def split_request(ctx: Context, args: SplitArgs) -> Atoms:
    """Name the single things that an image must show to be what the user asked for, if the list in `wanted` is not
    right: subject "fox", count "three foxes", attribute "red fox", relation "fox on a chair", style "watercolor",
    background "beach", text to be written. Once a request, before its images are scored.
    """
    if ctx.job.judged or ctx.job.atoms is not None:
        raise ToolFailed("the request is split already: images are compared by the same atoms")
    words = ctx.job.activation.words if ctx.job.activation else ctx.job.prompt
    kept = cleaned([Wanted(facet=one.facet, text=one.text) for one in args.atoms], words)
    if not kept:
        raise ToolFailed("none of these shares a word with what the user typed: the rule's own list stays")
    return Atoms(atoms=kept)
