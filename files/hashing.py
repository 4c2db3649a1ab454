"""sha256 of files, remembered by path, size and time of change so that a big file is read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

_Stamp = tuple[int, int, int]
_known: dict[str, tuple[_Stamp, str]] = {}
"""Path -> (what tells a changed file, sha256)."""


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises OSError as `open` does."""
    name = os.path.realpath(path)
    with open(name, "rb") as file:
        stat = os.fstat(file.fileno())
        stamp = stat.st_size, stat.st_mtime_ns, stat.st_ino
        known, digest = _known.get(name, (None, ""))
        if known != stamp:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            _known[name] = stamp, digest
    return digest


def remember(path: Path, size: int, mtime_ns: int, digest: str) -> bool:
    """Take over what an earlier process found, unless the file has another size or time of change by now.

    Returns:
        Whether it was taken over. Raises OSError where there is no such file.
    """
    name = os.path.realpath(path)
    stat = os.stat(name)
    if (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns):
        return False
    _known[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ino), digest
    return True


def weights_sha256(paths: Iterable[Path]) -> str:
    """The identity of weights in one or more files: the file's own sha256, or for shards the sha256 over theirs."""
    digests = [file_sha256(path) for path in sorted(paths)]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
