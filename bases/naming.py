"""Making a base known to a home by naming where it is: a diffusers folder, a .safetensors file, an id on the Hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import BaseMissing, UserError
from ..files.hashing import file_sha256
from . import hub, known
from .key import WeightFile, hashed
from .known import KnownBase, KnownBases
from .locations import Location
from .parts import assemble
from .single_file import contents
from .soundness import MEND, check, is_whole

CONVERTED = "bases"
"""The folder in the home that holds what single files were converted into."""
_ZEROS = "0" * 64
Tell = Callable[[str], None]
"""Told what takes long, in a sentence."""


def silent(text: str) -> None:
    """Tell nobody."""


def known_at(
    home: Path,
    location: Location,
    *,
    name: str = "",
    taken: frozenset[str] = frozenset(),
    parts: str = "",
    tell: Tell = silent,
) -> KnownBase:
    """The base at a location as the home knows it, made known now if need be.

    Args:
        home: DiffGraph's home.
        location: where it is.
        name: what it shall be called; "": as it is, or after its place.
        taken: names that mean something else.
        parts: for a single file, what gives what it lacks (`parts.assemble`).
        tell: told what takes long.

    Raises:
        UserError: there is no pipeline, or the home cannot be written although ``name`` is asked for.
        BaseMissing: its weights are not there.
        ExternalError: the Hub fails.
    """
    old = known.read(home).at(location.kind, location.where, location.revision)
    made = _look(home, location, old, parts, tell)
    if old and name not in ("", old.name):
        tell(f"{old.where} was known as {old.name}; it is called {name} from here on, for a place has one name")
    if made == old and (not name or old.name == name):
        return made

    def put(before: KnownBases) -> KnownBases:
        nonlocal made
        wish = name or (old.name if old else before.free_name(location.label, set(taken)))
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
    if not Path(base.folder).is_dir():
        raise BaseMissing(gone(base))
    check(Path(base.folder), MEND if base.kind == "folder" else f"`diffgraph base add {base.where}` makes it again.")
    key, files = hashed(Path(base.folder), base.files)
    if not key:
        raise BaseMissing(_no_denoiser(Path(base.folder)))
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


def _look(home: Path, location: Location, old: KnownBase | None, parts: str, tell: Tell) -> KnownBase:
    """What is to be known of a base at a location."""
    first = KnownBase.model_construct(
        name=old.name if old else KnownBases().free_name(location.label, set()),
        kind=location.kind,
        where=location.where,
        asked=location.revision,
        files=old.files if old else (),
    )
    if location.kind == "folder":
        return _hashed(first, Path(location.where))
    if location.kind == "file":
        return _of_file(home, first, Path(location.where), old, parts, tell)
    fetched = hub.fetch(location.where, location.revision, tell)
    pinned = first.model_copy(update={"revision": fetched.revision})
    if fetched.file is not None:
        return _of_file(home, pinned, fetched.file, old, parts, tell)
    return _hashed(pinned, fetched.folder)


def _hashed(base: KnownBase, folder: Path) -> KnownBase:
    """A base with its key, hashed now as far as it is not known, if its folder is whole."""
    check(folder)
    try:
        key, files = hashed(folder, base.files)
    except OSError as error:
        raise BaseMissing(f"The weights of the base in {folder} cannot be read: {error.strerror or error}.") from error
    if not key:
        raise BaseMissing(_no_denoiser(folder))
    return KnownBase.model_validate(dict(base) | {"folder": str(folder), "key": key, "files": files})


def _no_denoiser(folder: Path) -> str:
    return f"The pipeline in {folder} holds no weights of a unet or a transformer. {MEND}"


def _of_file(home: Path, base: KnownBase, file: Path, old: KnownBase | None, parts: str, tell: Tell) -> KnownBase:
    """A base of a single file, converted unless it was."""
    stat = file.stat()
    source = WeightFile(name=file.name, size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=_ZEROS)
    if old and _unchanged(old, source) and parts in ("", old.parts):
        return _hashed(base.model_copy(update=dict(old)), Path(old.folder))
    found = contents(file)
    tell(f"reading {file.name} ({stat.st_size / 1e9:.2f} GB)")
    digest = file_sha256(file)
    out = home / CONVERTED / f"{KnownBases().free_name(file.stem, set())}-{digest[:12]}"
    given, whose = assemble(file, found, home, out, parts, tell)
    known_source = source.model_copy(update={"sha256": digest})
    return _hashed(
        base.model_copy(update={"source": known_source, "parts": parts or given, "from_parts": whose, "files": ()}), out
    )


def _unchanged(old: KnownBase, source: WeightFile) -> bool:
    """Whether the file of a known base is as it was, and what it was converted into is there."""
    same = old.source is not None and old.source.model_copy(update={"sha256": _ZEROS}) == source
    return same and is_whole(Path(old.folder))
