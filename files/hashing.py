"""sha256 of weight files, remembered by path, size and time of change so that a big file is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_known: dict[tuple[str, int, int, int], str] = {}


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises OSError as `open` does."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _known:
        with path.open("rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def weights_sha256(paths: Iterable[Path]) -> str:
    """The identity of weights in one or more files: the file's own sha256, or for shards the sha256 over theirs."""
    digests = [file_sha256(path) for path in sorted(paths)]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
