"""What a user types of an expert, as their own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins import closest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graph.experts.own_words import OwnWords


def said(
    triggers: Sequence[str] | None, facet: str | None, weight: float | None, negative: str | None, off: bool | None
) -> OwnWords:
    """Options of the command line as `OwnWords`; an empty trigger says that none is needed.

    Raises:
        UserError: a facet that there is none of, a weight that cannot be.
    """
    import math

    from ..graph.experts.expert import FACETS, MAX_WEIGHT
    from ..graph.experts.own_words import OwnWords
    from ..graph.experts.words.plain import clean
    from ..graph.experts.words.triggers import groups

    known = next((one for one in FACETS if facet is not None and one == facet.casefold().strip()), None)
    if facet is not None and known is None:
        near = closest(facet, FACETS)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"There is no facet {facet!r}.{hint} Facets are {', '.join(FACETS)}.")
    if weight is not None and not (math.isfinite(weight) and abs(weight) <= MAX_WEIGHT):
        raise UserError(f"A weight of {weight} will not do: it lies between -{MAX_WEIGHT:g} and {MAX_WEIGHT:g}.")
    return OwnWords(
        triggers=None if triggers is None else groups(triggers),
        facet=known,
        weight=weight,
        negative=None if negative is None else clean(negative, 600),
        off=off,
    )
