"""The embedded world: a small hub of real weights with a known truth. This module only finds and verifies it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..bases import manifest as manifests
from ..errors import BaseMissing
from ..settings import PluginSettings, user_path

WorldMissing = BaseMissing
"""The embedded world is not on this machine, or a file in it does not match its manifest."""
HINT = "run `make world` to make it, or set DIFFGRAPH_WORLD to a folder that holds one"


class WorldSettings(PluginSettings):
    """What a user may change about the world."""

    world: Path | None = Field(default=None, description="the folder of an embedded world; none: the clone's own")


def world_dir(argument: str | Path = "") -> Path:
    """The folder that holds ``hub/``, ``scorers/``, ``graph/`` and ``manifest.json``.

    Args:
        argument: that folder; "" takes the one that DIFFGRAPH_WORLD names, else the one in the clone.

    Raises:
        WorldMissing: there is none; the message says how to get it.
    """
    chosen = Path(argument) if str(argument) else WorldSettings.load().world
    folder = user_path(chosen) if chosen is not None else Path(__file__).resolve().parent
    if not (folder / "manifest.json").is_file():
        raise WorldMissing(f"no embedded world in {folder}: {HINT}")
    return folder


def manifest(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file of the world. Raises WorldMissing if the manifest cannot be read."""
    return manifests.entries(folder / "manifest.json", HINT)


def verify(folder: Path, under: str = "") -> int:
    """Check every file below ``under`` against the manifest and return how many there are.

    Raises WorldMissing naming the first file that is absent or differs.
    """
    return manifests.verify(folder / "manifest.json", under, mend=HINT)
