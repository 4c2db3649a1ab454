"""The key of a base: the sha256 of its denoiser's weights, by which calibrations are kept. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..files.hashing import file_sha256, remember, weights_sha256
from .index import DENOISERS, component_files
from .profile import BaseProfile, Frozen


class WeightFile(Frozen):
    """A file of weights as it was when it was hashed.

    Attributes:
        name: its path below the base's folder, with slashes.
        size, mtime_ns: what tells a changed file.
        sha256: of its bytes.
    """

    name: str = Field(min_length=1)
    size: int = Field(ge=0)
    mtime_ns: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def denoiser_files(folder: Path) -> tuple[Path, ...]:
    """The denoiser's weight files of a diffusers folder; empty if it has none.

    Raises:
        UserError: they cannot be told, as `index.component_files` says.
    """
    return next(filter(None, (component_files(folder / component) for component in DENOISERS)), ())


def hashed(folder: Path, before: tuple[WeightFile, ...] = ()) -> tuple[str, tuple[WeightFile, ...]]:
    """The key of a diffusers folder and the files that it is made of; ("", ()) for a folder without a denoiser.

    Args:
        folder: the pipeline's.
        before: what was found earlier. A file that has not changed since is not read again, in this process at all.

    Raises:
        UserError: the files cannot be told.
        OSError: one of them cannot be read.
    """
    known = {file.name: file for file in before}
    found = []
    for path in denoiser_files(folder):
        name = path.relative_to(folder).as_posix()
        if (old := known.get(name)) is not None and remember(path, old.size, old.mtime_ns, old.sha256):
            found.append(old)
            continue
        digest, stat = file_sha256(path), path.stat()
        found.append(WeightFile(name=name, size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=digest))
    return (weights_sha256([folder / file.name for file in found]) if found else ""), tuple(found)


def key_of(profile: BaseProfile) -> str:
    """The key of a base, hashed now if its profile does not say it; "" for one whose weights are not here."""
    return profile.key or hashed(profile.folder)[0]
