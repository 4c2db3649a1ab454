"""Which base is meant: a registered one by name, ``name:argument``, or a folder; without a word the default one.

A plug-in brings a base with ``@base("name")`` over a function that makes its profile, and names its module under the
entry-point group ``diffgraph.bases``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import ExpertError, UserError
from ..files.header import read_header
from ..plugins import Registry
from ..settings import user_path
from .architecture import family_of_header, family_of_model_id
from .families import GENERIC, family_for
from .index import DENOISERS, component_files
from .profile import BaseProfile

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


def chosen(setting: str | None) -> BaseProfile:
    """The profile of the base that a setting names: a registered name, ``name:argument``, or a diffusers folder.

    Raises:
        UserError: there is no such base, or it is not on this machine.
    """
    named = default_name() if setting is None or not setting.strip() else setting.strip()
    name, _, argument = named.partition(":")
    if name in names() or (name in broken() and not user_path(named).exists()):
        return _BASES.get(name)(argument)
    return of_folder(user_path(named))


def default_critic() -> str:
    """The critic of the default base, who judges where a base brings none; "" if no such base is here."""
    try:
        return chosen(None).critic
    except UserError:
        return ""


def of_folder(folder: Path) -> BaseProfile:
    """The profile of a diffusers folder: the values of its family, or generic ones.

    Raises:
        UserError: there is no pipeline in it.
    """
    if not (folder / "model_index.json").is_file():
        known = ", ".join(names()) or "none"
        raise UserError(
            f"There is no diffusers pipeline in {folder}: model_index.json is missing. Registered bases: {known}."
        )
    architecture = _architecture(folder)
    family = family_for(architecture)
    values = family.model_dump(exclude={"name", "architecture"})
    return BaseProfile(
        **values,
        name=folder.name,
        family=family.name,
        architecture=architecture,
        where=str(folder),
        ref=f"folder:{folder.name}",
        title=f"the base in {folder}" + (", of no known family: generic values" if family.name == GENERIC else ""),
    )


def _architecture(folder: Path) -> str:
    """What can be merged into a pipeline: read off its denoiser's weights; off its name only where they do not tell."""
    try:
        files = [file for component in DENOISERS for file in component_files(folder / component)]
        found = next(filter(None, (family_of_header(read_header(file)) for file in files)), None)
    except ExpertError as error:
        raise UserError(f"The base in {folder} is damaged: {error}") from error
    return found or family_of_model_id(folder.name)
