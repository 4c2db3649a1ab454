"""``NAME.swarm.json`` of SwarmUI: the header's ``modelspec`` fields as the user edited them."""

from __future__ import annotations

from ..header_words import of_modelspec
from ..said import USER, Said
from ..words.plain import mapping
from . import Document, sidecar


@sidecar("swarm", ".swarm.json")
def read(found: Document) -> Said | None:
    """A document of ``modelspec.…`` fields, with or without that prefix."""
    held = mapping(found.data.get("metadata")) or found.data
    fields = {
        name.removeprefix("modelspec."): value if isinstance(value, str) else str(value)
        for name, value in list(held.items())[:256]
        if isinstance(name, str) and isinstance(value, str | int | float | bool)
    }
    return of_modelspec(fields, by=found.name, trust=USER - 10)
