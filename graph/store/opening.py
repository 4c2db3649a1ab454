"""Opening the home's graph: what comes along with the base is taken in once for each version."""

from __future__ import annotations

import os
import re
from pathlib import Path

from filelock import FileLock, Timeout

from ...bases import manifest, registry
from ...bases.key import key_of
from ...bases.profile import BaseProfile
from ...errors import UserError
from ...files.hashing import file_sha256
from ...settings import Settings
from .graph_store import GraphStore

WAIT_SECONDS = 60.0
_KEPT = "by base"
"""How calibrations are kept. A home that was filled when they were kept otherwise is filled again."""


def open_graph(settings: Settings, profile: BaseProfile | None = None) -> GraphStore:
    """The graph that the settings name, holding what their base ships. The caller closes it. Loads no model.

    Args:
        settings: where the graph is, and which base is meant.
        profile: that base, if the caller knows it already.

    Raises:
        BaseMissing: the base that the settings name is absent or damaged.
        UserError: there is no such base, the home cannot be written, or another process is writing just now.
    """
    base = profile or registry.of_settings(settings)
    store = GraphStore(settings.root / "graph", url=settings.chroma_url, base=lambda: key_of(base))
    try:
        take_in(store, base)
    except BaseException:
        store.close()
        raise
    return store


def marker(profile: BaseProfile) -> str:
    """Name of the file beside the graph that says which version of a base's graph is in it."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', profile.name)}.sha256"


def take_in(store: GraphStore, profile: BaseProfile) -> int:
    """Import the graph that a base ships unless this version is in ``store``; returns the lines taken in.

    Two processes that start at once do it one after the other; an import cut short is simply done again.

    Raises:
        BaseMissing: the shipped graph is damaged.
        UserError: the home cannot be written, or another process is writing just now.
    """
    if profile.graph is None:
        return 0
    version = f"{file_sha256(profile.manifest or profile.graph)} {_KEPT}"
    note = store.path / marker(profile)
    if _taken(note) == version:
        return 0
    if profile.manifest is not None and profile.graph.is_relative_to(profile.manifest.parent):
        under = profile.graph.relative_to(profile.manifest.parent).as_posix()
        manifest.verify(profile.manifest, under, mend=profile.mend)
    if not os.access(store.path, os.W_OK):
        if _taken(note) == version.partition(" ")[0]:
            return 0  # filled, though kept otherwise
        raise UserError(
            f"The graph in {store.path} lacks the experts of {profile.title or profile.name} and cannot be written. "
            "Set DIFFGRAPH_HOME to a folder of yours."
        )
    try:
        with FileLock(note.with_suffix(".lock"), timeout=WAIT_SECONDS):
            if _taken(note) == version:
                return 0
            count = store.import_jsonl(profile.graph, base=key_of(profile))
            note.write_text(version, encoding="ascii")
            return count
    except Timeout as error:
        raise UserError(
            f"Another diffgraph process has been filling {store.path} for a minute; try again when it is done."
        ) from error


def _taken(note: Path) -> str:
    try:
        return note.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
