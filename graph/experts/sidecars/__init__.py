"""Files that programs lay beside a weight file: what they say of it. One file a kind; it registers itself.

Adding one: write a function from the parsed document to `Said` in a file of this folder (or in a package of yours,
named by the entry-point group ``diffgraph.sidecars``) and decorate it with ``@sidecar("name", ".suffix")``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ....errors import ExpertError
from ....plugins import Registry
from ..said import Said

MAX_BYTES = 8 * 2**20
"""A page of Civitai with all its pictures is about one megabyte."""
PREVIEWS = tuple(
    f"{middle}.{end}"
    for middle in ("", ".preview", ".thumb")
    for end in ("png", "jpg", "jpeg", "webp", "gif", "avif", "mp4", "webm")
)
"""What stands behind a weight file's name in the names of its pictures."""


@dataclass(frozen=True)
class Document:
    """A sidecar, parsed.

    Attributes:
        data: the JSON object; empty for a kind that is plain text.
        text: the file's text.
        stem: the weight file's name without suffix.
        name: the sidecar's own name.
    """

    data: Mapping[str, Any]
    text: str
    stem: str
    name: str


Reader = Callable[[Document], Said | None]
"""What a document says; None if it is some other program's."""
_R = TypeVar("_R", bound=Reader)


@dataclass(frozen=True)
class Sidecar:
    """A kind of sidecar: how its name ends and how it is read."""

    suffix: str
    read: Reader
    is_json: bool = True


_REGISTRY: Registry[Sidecar] = Registry("kind of sidecar", "diffgraph.sidecars", __name__)


def sidecar(name: str, suffix: str, *, is_json: bool = True) -> Callable[[_R], _R]:
    """Register a reader for files called like the weight file with ``suffix`` in place of, or behind, its own."""

    def keep(read: _R) -> _R:
        _REGISTRY.add(name, Sidecar(suffix, read, is_json))
        return read

    return keep


def kinds() -> dict[str, Sidecar]:
    """All kinds by name."""
    return _REGISTRY.items()


def names_of(file: str) -> dict[str, str]:
    """What sidecars of a weight file may be called (in lower case) -> their kind."""
    low = file.casefold()
    stem = low.rpartition(".")[0] or low
    return {start + kind.suffix: name for name, kind in kinds().items() for start in (low, stem)}


def previews_of(file: str) -> list[str]:
    """What pictures of a weight file may be called, in lower case, the likeliest first."""
    low = file.casefold()
    return [(low.rpartition(".")[0] or low) + end for end in PREVIEWS]


def read_sidecar(path: Path, kind: str, file: str) -> Said | None:
    """What one sidecar says of the weight file called ``file``; None if it is another program's.

    Raises:
        ExpertError: too large, not readable, not what its name says.
    """
    found = kinds()[kind]
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ExpertError(f"{path.name} cannot be read: {error.strerror or error}", path=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise ExpertError(f"{path.name} is larger than {MAX_BYTES} bytes and is not read.", path=str(path))
    text = raw.decode("utf-8-sig", "replace")
    data: Any = {}
    if found.is_json:
        try:
            data = json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            raise ExpertError(f"{path.name} is no JSON: {str(error)[:80]}", path=str(path)) from error
        if not isinstance(data, dict):
            raise ExpertError(f"{path.name} holds no JSON object.", path=str(path))
    return found.read(Document(data, text, file.rpartition(".")[0] or file, path.name))
