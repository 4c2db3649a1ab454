"""Making a base known to a home by naming where it is: a diffusers folder, a .safetensors file, an id on the Hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import BaseMissing, UserError
from . import known
from .key import hashed
from .known import KnownBase, KnownBases
from .locations import LISTING, Location

CONVERTED = "bases"
"""The folder in the home that holds what single files were converted into."""
Tell = Callable[[str], None]
"""Told what takes long, in a sentence."""


def silent(text: str) -> None:
    """Tell nobody."""


def known_at(home: Path, location: Location, *, name: str = "", taken: frozenset[str] = frozenset()) -> KnownBase:
    """The base at a location as the home knows it, made known now if need be.

    Args:
        home: DiffGraph's home.
        location: where it is.
        name: what it shall be called; "": as it is, or after its place.
        taken: names that mean something else.

    Raises:
        UserError: there is no pipeline, or the home cannot be written although ``name`` is asked for.
        BaseMissing: its weights are not there.
    """
    old = known.read(home).at(location.kind, location.where, location.revision)
    made = _look(location, old, name)
    if made == old and (not name or old.name == name):
        return made

    def put(before: KnownBases) -> KnownBases:
        nonlocal made
        wish = name or (old.name if old else before.free_name(made.name, set(taken)))
        made = made.model_copy(update={"name": wish})
        return before.renamed(old.name, made) if old and before.get(old.name) else before.with_base(made)

    if name:
        known.change(home, put)
    else:
        with suppress(UserError):  # a home that cannot be written has to be told by whoever must write there
            known.change(home, put)
    return made


def refreshed(home: Path, base: KnownBase) -> KnownBase:
    """A known base as it is now: hashed anew if its weights changed since.

    Raises:
        BaseMissing: it was moved or deleted; the message says what to do.
    """
    if not (Path(base.folder) / LISTING).is_file():
        raise BaseMissing(gone(base))
    key, files = hashed(Path(base.folder), base.files)
    if not key:
        raise BaseMissing(gone(base))
    if (key, files) == (base.key, base.files):
        return base
    made = base.model_copy(update={"key": key, "files": files})
    with suppress(UserError):
        known.change(home, lambda before: before.with_base(made) if before.get(base.name) else before)
    return made


def clear(home: Path, base: KnownBase) -> None:
    """Delete the folder that a single file was converted into; nothing else is ever deleted."""
    folder = Path(base.folder)
    if base.kind == "file" and folder.parent == home / CONVERTED:
        shutil.rmtree(folder, ignore_errors=True)


def gone(base: KnownBase) -> str:
    """What to say of a base that is not where it was."""
    where = base.where if base.kind != "hub" else base.folder
    again = base.where if base.kind == "hub" else "WHERE-IT-IS-NOW"
    return (
        f"The base {base.name} was in {where} and is not there any more. `diffgraph base add {again} --name "
        f"{base.name}` says where it is; `diffgraph base remove {base.name}` forgets it."
    )


def _look(location: Location, old: KnownBase | None, name: str) -> KnownBase:
    folder = Path(location.where)
    try:
        key, files = hashed(folder, old.files if old else ())
    except OSError as error:
        raise BaseMissing(f"The weights of the base in {folder} cannot be read: {error.strerror or error}.") from error
    if not key:
        raise BaseMissing(f"The pipeline in {folder} holds no weights of a unet or a transformer.")
    called = name or (old.name if old else KnownBases().free_name(location.label, set()))
    return KnownBase(name=called, kind="folder", where=location.where, folder=str(folder), key=key, files=files)
