"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` as `new_file` does, and raise as it does."""
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write and to read back, by way of a temporary one beside ``path``: flush, fsync, rename, fsync the
    folder.

    Whatever stops it (an error, Ctrl-C, a kill), ``path`` is the old file or the whole new one. A kill may leave a
    ``.name.….tmp`` behind; nothing reads those.

    Raises:
        UserError: the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "w+b") as file:
                yield file
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


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to fill; when all went well it is renamed to ``path``, replacing what was there.

    Whatever stops it, ``path`` is as it was (or, if the machine stops between two renames, absent while the old one
    lies beside it as ``.name.….old``); nothing half-filled ever has its name. What is put into the folder should come
    by `new_file`.

    Raises:
        UserError: the folder cannot be made there.
    """
    path = Path(path)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield made
            made.chmod(0o755)
            _sync_folder(made)
            old = made.with_suffix(".old")
            if path.exists():
                path.rename(old)
            made.rename(path)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        if old.exists():
            shutil.rmtree(old)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    _sync_folder(path.parent)


def check_room(path: Path, size: int) -> None:
    """Raise UserError if the disk that ``path`` is to lie on has fewer than ``size`` bytes free, or no such folder."""
    try:
        free = shutil.disk_usage(Path(path).parent).free
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    if size > free:
        raise UserError(f"cannot write {path}: it takes {size / 1e9:.2f} GB and {free / 1e9:.2f} GB are free there")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
