"""The bases that a home knows, kept in its ``bases.json``: names, where they are, what tells that they have changed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from ..errors import UserError
from ..files.atomic import write_bytes
from .key import WeightFile
from .profile import Frozen, Kind

FILE = "bases.json"
WAIT_SECONDS = 10.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_MAX_BYTES = 4 * 2**20
_log = logging.getLogger(__name__)


class Damaged(UserError):
    """The list of bases cannot be understood."""


class KnownBase(Frozen):
    """One base that somebody named.

    Attributes:
        name: what it is called here.
        kind: a diffusers folder, a .safetensors file, or an id on the Hub.
        where: the absolute path, or "owner/name" on the Hub.
        revision: the commit of a Hub id; "" elsewhere.
        asked: the branch or tag that was named; "" if none was.
        folder: the diffusers folder that its weights are read from.
        source: of a file: size and time of change when it was converted, and its sha256.
        parts: of a file: the diffusers folder or id that gave what the file does not hold; "" if nobody did.
        from_parts: the components that came from there.
        key: sha256 of the denoiser's weights.
        files: the denoiser's weight files.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    kind: Kind
    where: str = Field(min_length=1)
    revision: str = ""
    asked: str = ""
    folder: str = Field(min_length=1)
    source: WeightFile | None = None
    parts: str = ""
    from_parts: tuple[str, ...] = ()
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: tuple[WeightFile, ...] = Field(min_length=1)

    @property
    def origin(self) -> str:
        """The file or the pinned id; "" for a folder."""
        if self.kind == "folder":
            return ""
        return f"{self.where}@{self.revision}" if self.kind == "hub" else self.where

    def is_at(self, where: str) -> bool:
        """Whether that is its place, by whichever way (``..``, links) the one or the other is written."""
        return self.where == where or (self.kind != "hub" and os.path.realpath(self.where) == os.path.realpath(where))


class KnownBases(Frozen):
    """All of them, in the order in which they came, and the one that is meant where none is named."""

    version: Literal[1] = 1
    default: str = ""
    bases: tuple[KnownBase, ...] = ()

    def get(self, name: str) -> KnownBase | None:
        """The base of that name, or None."""
        return next((base for base in self.bases if base.name == name), None)

    def at(self, kind: Kind, where: str, revision: str = "") -> KnownBase | None:
        """The base at that place (as that revision), the latest first, or None."""
        found = (base for base in reversed(self.bases) if base.kind == kind and base.is_at(where))
        return next((base for base in found if revision in (base.asked, base.revision)), None)

    def with_base(self, base: KnownBase) -> KnownBases:
        """With this one added, or in the place of the one of its name."""
        if self.get(base.name) is None:
            return self.model_copy(update={"bases": (*self.bases, base)})
        return self.model_copy(update={"bases": tuple(base if b.name == base.name else b for b in self.bases)})

    def renamed(self, name: str, base: KnownBase) -> KnownBases:
        """With this one in the place of the one called ``name``; who drew with that draws with this."""
        kept = tuple(other for other in self.bases if other.name != base.name or other.name == name)
        bases = tuple(base if other.name == name else other for other in kept)
        return self.model_copy(update={"bases": bases, "default": base.name if self.default == name else self.default})

    def without(self, name: str) -> KnownBases:
        """Without the one of that name; it is nobody's default then."""
        left = tuple(base for base in self.bases if base.name != name)
        return self.model_copy(update={"bases": left, "default": "" if self.default == name else self.default})

    def free_name(self, wish: str, taken: set[str]) -> str:
        """A name like ``wish`` that nobody has, neither here nor among ``taken``."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", wish).strip("-._")[:60] or "base"
        used = {base.name for base in self.bases} | taken
        return next(n for n in (plain, *(f"{plain}-{i}" for i in range(2, len(used) + 3))) if n not in used)


def read(home: Path) -> KnownBases:
    """What the home knows; nothing yet is no error.

    Raises:
        Damaged: the file is, with what to do.
        UserError: it cannot be read.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return KnownBases()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}). Set DIFFGRAPH_HOME to a folder of yours."
        ) from error
    try:
        if len(raw) > _MAX_BYTES:
            raise ValueError("it is larger than any list of bases")
        return KnownBases.model_validate_json(raw)
    except (ValidationError, ValueError) as error:
        why = f"{error.errors()[0]['msg']}" if isinstance(error, ValidationError) else str(error)
        raise Damaged(
            f"{path} is damaged ({why}). Move it away; `diffgraph base add` makes the bases known again."
        ) from error


def set_aside(home: Path) -> KnownBases:
    """Put a damaged list beside its place under a name of its own, and say so; nothing is known from then on.

    Raises:
        UserError: it cannot be moved.
    """
    path = home / FILE
    try:
        with FileLock(home / f".{FILE}.lock", timeout=WAIT_SECONDS):
            taken = len(list(home.glob(f"{FILE}.damaged*")))
            aside = path.rename(home / (f"{FILE}.damaged-{taken + 1}" if taken else f"{FILE}.damaged"))
    except Timeout as error:
        raise UserError(f"Another diffgraph process is writing {path}; try again.") from error
    except OSError as error:
        raise UserError(f"{path} is damaged and cannot be moved ({error.strerror}). Move it away.") from error
    _log.warning(
        "%s is damaged: it is kept as %s, and the bases that it named are forgotten; `diffgraph base add` makes them "
        "known again.", path, aside.name,
    )  # fmt: skip
    return KnownBases()


def known_sums(home: Path, name: str) -> set[str]:
    """The sha256 by which a known base's weights may be met: of its denoiser's files, of the file it came from."""
    base = read(home).get(name)
    if base is None:
        return set()
    return {base.key, *(file.sha256 for file in base.files), *([base.source.sha256] if base.source else [])}


def change(home: Path, how: Callable[[KnownBases], KnownBases]) -> KnownBases:
    """Read, change and write under a lock, whole or not at all; returns what is known then.

    Raises:
        UserError: the file is damaged, cannot be written, or another process holds it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f".{FILE}.lock", timeout=WAIT_SECONDS):
            before = read(home)
            after = how(before)
            if after != before:
                write_bytes(home / FILE, (after.model_dump_json(indent=1) + "\n").encode())
            return after
    except Timeout as error:
        raise UserError(f"Another diffgraph process is writing {home / FILE}; try again.") from error
    except OSError as error:
        raise UserError(
            f"{home / FILE} cannot be written ({error.strerror}). Set DIFFGRAPH_HOME to a folder of yours."
        ) from error
