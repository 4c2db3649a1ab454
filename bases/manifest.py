"""A manifest: a JSON file ``{"files": {path: sha256}}`` by which files beside it are verified before they are used."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import BaseMissing
from ..files.hashing import file_sha256

_MEND = "install it anew"


def entries(manifest: Path, mend: str = "") -> dict[str, str]:
    """Path below the manifest's folder -> sha256 of every file.

    Args:
        manifest: the JSON file.
        mend: what to do, for the message.

    Raises:
        BaseMissing: it cannot be read.
    """
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseMissing(f"{manifest} is damaged ({error}): {mend or _MEND}") from error
    if not isinstance(files, dict):
        raise BaseMissing(f"{manifest} is damaged (files is no mapping): {mend or _MEND}")
    return {str(k): str(v) for k, v in files.items()}


def verify(manifest: Path, under: str = "", *, mend: str = "") -> int:
    """Check every file whose path begins with ``under`` and return how many there are.

    Raises:
        BaseMissing: names the first file that is absent or differs.
    """
    listed = {name: digest for name, digest in entries(manifest, mend).items() if name.startswith(under)}
    for name, digest in sorted(listed.items()):
        path = manifest.parent / name
        if not path.is_file():
            raise BaseMissing(f"{manifest.parent} lacks {name}: {mend or _MEND}")
        if file_sha256(path) != digest:
            raise BaseMissing(f"{path} differs from its manifest (damaged download or edit): {mend or _MEND}")
    return len(listed)
