"""The embedded world: a small hub of real weights with a known truth. This module only finds and verifies it."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import WorldMissing
from ..files.hashing import file_sha256
from ..settings import Settings

HINT = "run `make world` to make it, or set DIFFGRAPH_WORLD to a folder that holds one"


def world_dir(settings: Settings | str | None = None) -> Path:
    """The folder that holds ``hub/``, ``scorers/``, ``graph/`` and ``manifest.json``.

    Raises WorldMissing if there is none; the message says how to get it.
    """
    chosen = Path(settings) if isinstance(settings, str) and settings else None
    if chosen is None:
        chosen = (settings or Settings()).world if not isinstance(settings, str) else Settings().world
    folder = chosen.expanduser().absolute() if chosen is not None else Path(__file__).resolve().parent
    if not (folder / "manifest.json").is_file():
        raise WorldMissing(f"no embedded world in {folder}: {HINT}")
    return folder


def manifest(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file of the world. Raises WorldMissing if the manifest cannot be read."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorldMissing(f"{folder / 'manifest.json'} is damaged ({error}): {HINT}") from error
    if not isinstance(files, dict):
        raise WorldMissing(f"{folder / 'manifest.json'} is damaged (files is no mapping): {HINT}")
    return {str(k): str(v) for k, v in files.items()}


def verify(folder: Path, under: str = "") -> int:
    """Check every file below ``under`` against the manifest and return how many there are.

    Raises WorldMissing naming the first file that is absent or differs.
    """
    listed = {name: digest for name, digest in manifest(folder).items() if name.startswith(under)}
    for name, digest in sorted(listed.items()):
        path = folder / name
        if not path.is_file():
            raise WorldMissing(f"the embedded world lacks {name}: {HINT}")
        if file_sha256(path) != digest:
            raise WorldMissing(f"{path} differs from its manifest (damaged download or edit): {HINT}")
    return len(listed)
