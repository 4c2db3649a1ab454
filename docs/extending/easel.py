"""A reader of image recipes: what a program of yours writes into its PNGs under ``easel``."""

from __future__ import annotations

from diffgraph.merging.plan.foreign.image_text import ImageTexts
from diffgraph.merging.plan.foreign.reader import reader
from diffgraph.merging.plan.foreign.recipe import ForeignExpert, ForeignRecipe, extras_of, weight
from diffgraph.merging.plan.foreign.values import hashes, integer, name, text


@reader("easel", title="Easel", order=45)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """``{"wish": "a mill", "seed": 3, "brush": "ink", "brush_sum": "0123456789", "pressure": 0.8}``"""
    said = texts.document("easel")
    if said is None:
        return None
    brush = ForeignExpert(
        name=name(said.get("brush")), hashes=hashes(said.get("brush_sum")), weight=weight(said.get("pressure"))
    )
    return ForeignRecipe(
        tool="Easel",
        prompt=text(said.get("wish")),
        seed=integer(said.get("seed")),
        experts=(brush,) if brush.name else (),
        extras=extras_of(said, {"wish", "seed", "brush", "brush_sum", "pressure"}),
    )
