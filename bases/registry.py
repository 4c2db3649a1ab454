"""Which base is meant: by a known name, a registered one, or where it is; without a word the default one.

A plug-in brings a base with ``@base("name")`` over a function that makes its profile, and names its module under the
entry-point group ``diffgraph.bases``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import DiffGraphError, ExpertError, UserError
from ..files.header import read_header
from ..plugins import Registry, closest
from ..settings import Settings, user_path
from . import known, naming
from .architecture import family_of_header, family_of_model_id
from .ecosystem import drawn_so, ecosystem_of_folder
from .families import GENERIC, family_for
from .key import denoiser_files
from .known import KnownBase, KnownBases
from .locations import LISTING, location_of
from .pipeline_config import PipelineConfig
from .profile import BaseProfile, Frozen
from .soundness import check

Maker = Callable[[str], BaseProfile]
"""Makes a profile; its argument is what follows ``name:`` in the setting, "" if nothing does."""
_BASES: Registry[Maker] = Registry("base", "diffgraph.bases")
_defaults: set[str] = set()


def base(name: str, *, default: bool = False) -> Callable[[Maker], Maker]:
    """Register the function that makes a base's profile under ``name``; ``default``: meant where none is named."""

    def register(maker: Maker) -> Maker:
        _BASES.add(name, maker)
        if default:
            _defaults.add(name)
        return maker

    return register


def names() -> list[str]:
    """All registered bases."""
    return _BASES.names()


def broken() -> dict[str, str]:
    """Bases whose plug-in cannot be loaded, and why."""
    return _BASES.broken


def default_name() -> str:
    """The base that declares itself the default.

    Raises:
        UserError: none does, or several do; the message says what to set.
    """
    known = [name for name in names() if name in _defaults]
    if len(known) == 1:
        return known[0]
    if known:
        raise UserError(f"Several bases want to be the default: set DIFFGRAPH_BASE to one of {', '.join(known)}.")
    others = f", or to one of {', '.join(names())}" if names() else ""
    missing = "".join(f" The base {name!r} cannot be used: {why}." for name, why in sorted(broken().items()))
    raise UserError(f"No base is chosen: set DIFFGRAPH_BASE to a diffusers folder{others}.{missing}")


def chosen(
    setting: str | None, home: Path | None = None, *, parts: str = "", tell: naming.Tell = naming.silent
) -> BaseProfile:
    """The profile of the base that a setting names: by a name that the home knows, by a registered name or
    ``name:argument``, by a diffusers folder, a .safetensors file or an id on the Hub.

    Args:
        setting: that; without a word the base that the home uses, else the one that comes along.
        home: where known bases are kept; naming one by its place makes it known there. None: nothing is known or kept,
            and a folder is all that can be named.
        parts: for a single file, a diffusers folder or Hub id that has what the file lacks.
        tell: told what takes long: a download, a conversion.

    Raises:
        UserError: there is no such base, or it is not on this machine.
        ExternalError: the Hub fails.
    """
    named = (setting or "").strip()
    bases = KnownBases() if home is None else _known_to(home, named)
    named = named or bases.default or default_name()
    if home is not None and (entry := bases.get(named)) is not None:
        return of_known(naming.refreshed(home, entry))
    name, _, argument = named.partition(":")
    if name in names() or (name in broken() and not user_path(named).exists()):
        return _BASES.get(name)(argument)
    if (entry := _placed(named, bases)) is not None and home is not None:
        return of_known(naming.refreshed(home, entry))
    location = location_of(named)
    if location is None:
        raise UserError(_nowhere(named, bases))
    if location.kind == "folder" and (home is None or not denoiser_files(Path(location.where))):
        return of_folder(Path(location.where))
    if home is None:
        raise UserError(
            f"{named} is no folder: a file or a Hub id is made known to a home first (`diffgraph base add`)."
        )
    return of_known(naming.known_at(home, location, taken=frozenset(names()), parts=parts, tell=tell))


def of_settings(settings: Settings, tell: naming.Tell = naming.silent) -> BaseProfile:
    """The profile of the base that the settings name, known to their home from then on. Raises as `chosen` does."""
    return chosen(settings.base, settings.root, parts=settings.base_parts or "", tell=tell)


def _placed(named: str, bases: KnownBases) -> KnownBase | None:
    """The known base that needs nothing more than what is here: an id on the Hub that was fetched, a file or a folder
    that is gone by now, so that its name is told.
    """
    if (entry := next((b for b in bases.bases if b.kind == "hub" and named in _ids(b)), None)) is not None:
        return entry
    path = user_path(named)
    return None if path.exists() else next((b for b in bases.bases if b.is_at(str(path))), None)


def _known_to(home: Path, named: str) -> KnownBases:
    """What a home knows. A damaged list is no obstacle to a base that is named by its place: it is set aside.

    Raises:
        UserError: the list is damaged, and it is needed to tell what is meant.
    """
    try:
        return known.read(home)
    except known.Damaged:
        if not named or location_of(named) is None:
            raise
        return known.set_aside(home)


def _ids(base: KnownBase) -> set[str]:
    """The ids that mean a base from the Hub."""
    return {f"{base.where}@{base.asked}" if base.asked else base.where, f"{base.where}@{base.revision}"}


def of_known(entry: KnownBase) -> BaseProfile:
    """The profile of a base that a home knows."""
    called = Path(entry.where).stem if entry.kind == "file" else entry.where.rpartition("/")[2]
    found = _profile(Path(entry.folder), called)
    where = {"folder": f"the base in {entry.where}", "file": f"the base of {entry.where}"}
    named = {"hub": f"hub:{entry.origin}", "file": f"file:{called}"}.get(entry.kind, found.ref)
    title = where.get(entry.kind, f"the base {entry.origin}")
    return found.model_copy(
        update={
            "name": entry.name,
            "kind": entry.kind,
            "origin": entry.origin,
            "key": entry.key,
            "ref": named,
            "title": found.title.replace(f"the base in {entry.folder}", title, 1),
        }
    )


def add(text: str, home: Path, *, name: str = "", parts: str = "", tell: naming.Tell = naming.silent) -> BaseProfile:
    """Make the base at a place known to a home, and return its profile. The first one is used from then on.

    Args:
        text: a diffusers folder, a .safetensors file or an id on the Hub.
        home: DiffGraph's home.
        name: what it shall be called; "": after its place.
        parts: for a single file, a diffusers folder or Hub id that has what the file lacks.
        tell: told what takes long.

    Raises:
        UserError: there is no base, its name cannot be, or the home cannot be written.
    """
    if not text.strip():
        raise UserError("Name the base: a diffusers folder (`.` is this one), a .safetensors file or an id on the Hub.")
    location = location_of(text)
    if location is None:
        raise UserError(_nowhere(text, known.read(home)))
    _known_to(home, text)
    if name and not known.NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a base: take letters, digits, dots, dashes and underscores.")
    if name in names():
        raise UserError(f"{name!r} is the name of a base that comes with a plug-in: take another.")
    entry = naming.known_at(home, location, name=name, taken=frozenset(names()), parts=parts, tell=tell)

    def put(before: KnownBases) -> KnownBases:
        after = before if before.get(entry.name) else before.with_base(entry)
        return after if after.default else after.model_copy(update={"default": entry.name})

    known.change(home, put)
    return of_known(entry)


def default_of(home: Path) -> str:
    """The name of the base that a home draws with where none is named; "" if nobody chose one."""
    return known.read(home).default


class ListedBase(Frozen):
    """A base in a list.

    Attributes:
        kind: as in `KnownBase`, or "plug-in".
        in_force: whether it is the one that is meant now.
        trouble: why it cannot be used, "" if it can.
    """

    name: str
    kind: str
    where: str = ""
    architecture: str = ""
    key: str = ""
    in_force: bool = False
    trouble: str = ""


def listed(setting: str | None, home: Path) -> list[ListedBase]:
    """All bases that a home knows or a plug-in brings; the one that ``setting`` means is in force."""
    bases = known.read(home)
    named = (setting or "").strip() or bases.default or next(iter(_defaults & {*names()}), "")
    rows: list[ListedBase] = []
    for entry in bases.bases:
        row = ListedBase(name=entry.name, kind=entry.kind, where=entry.origin or entry.where, key=entry.key)
        rows.append(_seen(row, named, lambda entry=entry: of_known(naming.refreshed(home, entry))))  # type: ignore[misc]
    for name in names():
        rows.append(_seen(ListedBase(name=name, kind="plug-in"), named, lambda name=name: _BASES.get(name)("")))  # type: ignore[misc]
    return rows


def _seen(row: ListedBase, named: str, look: Callable[[], BaseProfile]) -> ListedBase:
    """A row with what the base's profile says, or why there is none."""
    in_force = named == row.name or (row.kind == "plug-in" and named.startswith(f"{row.name}:"))
    try:
        found = look()
    except DiffGraphError as error:
        return row.model_copy(update={"trouble": str(error), "in_force": in_force})
    places = {found.where, found.origin, found.origin.partition("@")[0]} - {""}
    there = bool({named, str(user_path(named)), str(user_path(named).resolve())} & places)
    return row.model_copy(
        update={
            "where": row.where or found.where,
            "architecture": found.architecture,
            "in_force": in_force or there,
        }
    )


def use(name: str, home: Path) -> None:
    """Let a base be meant where none is named. Raises UserError if nobody knows it."""
    if name not in names() and known.read(home).get(name) is None:
        raise UserError(_nowhere(name, known.read(home)))
    known.change(home, lambda before: before.model_copy(update={"default": name}))


def remove(name: str, home: Path) -> KnownBase:
    """Forget a base and return what was known of it. Its own files stay; what was made for it in the home goes."""
    entry = known.read(home).get(name)
    if entry is None:
        raise UserError(_nowhere(name, known.read(home)))
    known.change(home, lambda before: before.without(name))
    naming.clear(home, entry)
    return entry


def _nowhere(named: str, bases: KnownBases) -> str:
    """What to say of a name that is no base and no place."""
    there = [base.name for base in bases.bases] + names()
    if "/" in named and "://" not in named:
        missing = f"There is no diffusers pipeline in {user_path(named)}: {LISTING} is missing, for nothing is there."
        return f"{missing} Known here: {', '.join(there) or 'none'}."
    near = closest(named, there, n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else f" Known here: {', '.join(there) or 'none'}."
    return (
        f"There is no base {named[:200]!r}: no known name, no diffusers folder, no .safetensors file and no id on the "
        f"Hub (owner/name).{hint} `diffgraph base add PATH_OR_ID` makes one known."
    )


def of_folder(folder: Path, *, called: str = "") -> BaseProfile:
    """The profile of a diffusers folder: the values of its family, or generic ones.

    Args:
        folder: the pipeline's.
        called: what its weights were called where they come from; "": as the folder is.

    Raises:
        UserError: there is no pipeline in it, or it is not whole.
    """
    if not (folder / LISTING).is_file():
        known_ones = ", ".join(names()) or "none"
        raise UserError(f"There is no diffusers pipeline in {folder}: {LISTING} is missing. Registered: {known_ones}.")
    check(folder)
    return _profile(folder, called)


def _profile(folder: Path, called: str) -> BaseProfile:
    """The profile of a pipeline folder that is whole."""
    architecture = _architecture(folder, called or folder.name)
    ecosystem = ecosystem_of_folder(folder, architecture, names=(called,))
    family = family_for(architecture, ecosystem.name)
    values = family.model_dump(exclude={"name", "architecture"}) | drawn_so(family, ecosystem)
    return BaseProfile(
        **values,
        name=folder.name,
        family=family.name,
        architecture=architecture,
        where=str(folder),
        ref=f"folder:{folder.name}",
        title=f"the base in {folder}" + (", of no known family: generic values" if family.name == GENERIC else ""),
    )


def _architecture(folder: Path, called: str) -> str:
    """What can be merged into a pipeline: told by its classes, else its denoiser's weights, else what it is called."""
    if told := PipelineConfig.open(folder).architecture:
        return told
    try:
        found = next(filter(None, (family_of_header(read_header(file)) for file in denoiser_files(folder))), None)
    except ExpertError as error:
        raise UserError(f"The base in {folder} is damaged: {error}") from error
    return found or family_of_model_id(called)
