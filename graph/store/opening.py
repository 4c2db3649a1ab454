"""The calibrated graph that ships with the embedded world: taken into the home's graph once for each version."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import UserError
from ...files.hashing import file_sha256
from ...settings import Settings
from ...world import verify, world_dir
from .graph_store import GraphStore

EXPORT = "graph/graph.jsonl"
MARKER = "world.sha256"
WAIT_SECONDS = 60.0


def open_graph(settings: Settings) -> GraphStore:
    """The graph that the settings name, holding what the world ships. The caller closes it. Loads no model.

    Raises:
        WorldMissing: the settings want the embedded world, and it is absent or damaged.
        UserError: the home cannot be written, or another process is writing just now.
    """
    store = GraphStore(settings.root / "graph", url=settings.chroma_url)
    try:
        if settings.base == "world":
            take_in(store, world_dir(settings))
    except BaseException:
        store.close()
        raise
    return store


def take_in(store: GraphStore, world: Path) -> int:
    """Import the world's graph into ``store`` unless this version of the world is in it; returns the lines taken in.

    Two processes that start at once do it one after the other; an import cut short is simply done again.
    """
    exported = world / EXPORT
    if not exported.is_file():
        return 0  # a world that nobody has scouted yet
    version = file_sha256(world / "manifest.json")
    if _taken(store.path) == version:
        return 0
    verify(world, under=EXPORT)
    if not os.access(store.path, os.W_OK):
        raise UserError(
            f"The graph in {store.path} lacks this world's experts and cannot be written. "
            "Set DIFFGRAPH_HOME to a folder of yours."
        )
    try:
        with FileLock(store.path / "world.lock", timeout=WAIT_SECONDS):
            if _taken(store.path) == version:
                return 0
            count = store.import_jsonl(exported)
            (store.path / MARKER).write_text(version, encoding="ascii")
            return count
    except Timeout as error:
        raise UserError(
            f"Another diffgraph process has been filling {store.path} for a minute; try again when it is done."
        ) from error


def _taken(folder: Path) -> str:
    try:
        return (folder / MARKER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
