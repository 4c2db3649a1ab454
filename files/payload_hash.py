"""sha256 of a safetensors file's tensors alone, by which A1111 and Civitai (AutoV3) name LoRAs; and a memo of sums.

A file whose header was rewritten (a title added, tags taken out) keeps this sum while its own sha256 changes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..errors import ExpertError, UserError
from .atomic import write_bytes
from .hashing import file_sha256
from .header import read_header

AUTOV3_DIGITS = 12
"""So many hex digits of it are written in images."""
_BLOCK = 2**20
_MAX_ENTRIES = 100_000
_MAX_BYTES = 64 * 2**20
_Stamp = tuple[int, int, int]


class _Sums(BaseModel):
    """What was computed of one file, and what tells that it changed (size, time of change in ns, inode)."""

    stamp: _Stamp
    sha256: str = ""
    payload: str = ""


_ENTRIES = TypeAdapter(dict[str, _Sums])


def payload_sha256(path: Path) -> str:
    """sha256 of what follows the header, in hex: the whole file but for its first 8 + header length bytes.

    Raises:
        ExpertError: not a sound safetensors file.
        OSError: as `open` does.
    """
    read_header(path)
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()


def both_sha256(path: Path) -> tuple[str, str]:
    """sha256 of the whole file and of its tensors alone, in one reading.

    Raises:
        ExpertError: not a sound safetensors file.
        OSError: as `open` does.
    """
    start = read_header(path).data_start
    whole, payload = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        first = file.read(start)
        whole.update(first)
        while block := file.read(_BLOCK):
            whole.update(block)
            payload.update(block)
    return whole.hexdigest(), payload.hexdigest()


class HashMemo:
    """sha256 and payload sums of files, each computed once; kept in a file between runs.

    Args:
        path: where they are kept; None keeps them for this process only. A file that cannot be read is begun anew.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, _Sums] = {}
        self._changed = False
        if path is not None:
            try:
                if path.stat().st_size <= _MAX_BYTES:
                    self._known = _ENTRIES.validate_json(path.read_bytes())
            except (OSError, ValidationError):
                self._known = {}

    def sha256(self, path: Path) -> str:
        """sha256 of the whole file. Raises OSError as `open` does."""
        entry = self._entry(path)
        if not entry.sha256:
            entry.sha256, self._changed = file_sha256(path), True
        return entry.sha256

    def payload(self, path: Path) -> str:
        """`payload_sha256` of the file, or "" where it is no sound safetensors file. Raises OSError as `open` does."""
        entry = self._entry(path)
        if not entry.payload:
            try:
                entry.payload, self._changed = payload_sha256(path), True
            except ExpertError:
                return ""
        return entry.payload

    def both(self, path: Path) -> tuple[str, str]:
        """`sha256` and `payload`, read together where neither is known. Raises as `both_sha256`."""
        entry = self._entry(path)
        if not (entry.sha256 and entry.payload):
            entry.sha256, entry.payload = both_sha256(path)
            self._changed = True
        return entry.sha256, entry.payload

    def claimed(self, path: Path) -> tuple[str, ...]:
        """What the file's own header says its tensors' sum is, unchecked; () if it says nothing or cannot be read."""
        try:
            metadata = read_header(path).metadata
        except ExpertError:
            return ()
        said = (metadata.get(key, "")[:100].lower().removeprefix("0x") for key in _CLAIMS)
        return tuple(one for one in said if len(one) == 64)

    def save(self) -> None:
        """Keep what was computed, if that is wanted and anything was. A full disk only means computing it again."""
        if self._path is None or not self._changed:
            return
        kept = dict(list(self._known.items())[-_MAX_ENTRIES:])
        try:
            write_bytes(self._path, _ENTRIES.dump_json(kept))
        except UserError:
            return
        self._changed = False

    def _entry(self, path: Path) -> _Sums:
        name, stat = os.path.realpath(path), path.stat()
        stamp = stat.st_size, stat.st_mtime_ns, stat.st_ino
        entry = self._known.get(name)
        if entry is None or entry.stamp != stamp:
            entry = self._known[name] = _Sums(stamp=stamp)
        return entry


_CLAIMS = ("modelspec.hash_sha256", "sshs_model_hash")
"""Where headers say the sum of their tensors; kohya's trainers and SwarmUI write them."""
