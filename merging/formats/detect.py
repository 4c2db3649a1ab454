"""Which format a file has, what kind of expert it is and of which rank: told by its header alone. Imports no torch."""

from __future__ import annotations

from typing import NamedTuple

from ...files.header import Header
from ...files.quantisation import with_scales
from .foreign_kinds import foreign
from .format import Format, expert_error, formats


class KindAndRank(NamedTuple):
    """What a header says of an expert.

    Attributes:
        kind: one of `kinds`.
        rank: the largest rank in the file, or None where rank has no meaning.
    """

    kind: str
    rank: int | None


def kinds() -> frozenset[str]:
    """Every kind of expert that some format brings along."""
    return frozenset().union(*(fmt.kinds() for fmt in formats().values()))


def kind_and_rank(header: Header) -> KindAndRank:
    """The kind and the rank of an expert. Raises ExpertError as `detect`."""
    header = with_scales(header)
    fmt, kind = detect(header)
    return KindAndRank(kind, fmt.rank(header))


def detect(header: Header) -> tuple[Format, str]:
    """The one format that knows this header, and the kind it says.

    Raises:
        ExpertError: no format knows the keys, or more than one claims them; or quantised in a way that is not read.
    """
    header = with_scales(header)
    claims = [(fmt, kind) for fmt in formats().values() if (kind := fmt.detect(header)) is not None]
    if len(claims) > 1:
        names = ", ".join(kind for _, kind in claims)
        raise expert_error(header, f"mixes keys of several kinds ({names}); that is not understood")
    if not claims:
        if (found := foreign(header.keys)) is not None:
            raise expert_error(header, f"is {found[0]}, a kind of adapter that is not understood", found[1])
        raise expert_error(header, "has keys of no known expert kind", header.keys)
    fmt, kind = claims[0]
    if kind not in kinds():
        raise expert_error(header, f"is called a {kind!r} by the format {fmt.name}, and no format brings such a kind")
    return fmt, kind
