"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import UserError


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` by way of a temporary file beside it: flush, fsync, rename, fsync the folder.

    Whatever stops it (an error, Ctrl-C, a kill), ``path`` is the old file or the whole new one. A kill may leave a
    ``.name.….tmp`` behind; nothing reads those.

    Raises:
        UserError: the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
