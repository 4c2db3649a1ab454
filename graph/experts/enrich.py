"""Files on this machine that a hub knows by their sums: what it says is kept, and they are registered anew with it.

What lies beside a file and what its user says still go before. A file is asked for once; one that the hub does not know
is asked for again only on order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ...errors import AccessDenied, ExternalError, UserError
from ...files.payload_hash import HashMemo
from .expert import Expert, Frozen
from .registration import reason
from .remote_scan import Patience
from .scan import Report, Tell, scan
from .scouted import Scouted
from .sources import FileSums, KnowsFiles
from .sources.folder import Folder

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore

BATCH = 100


class Enriched(Frozen):
    """What asking a hub for files came to.

    Attributes:
        known: ids of experts that it knows. unknown: how many it does not know. before: how many were asked for before.
        changed: ids of experts that say more now.
        ended: why asking ended early; empty if it did not.
    """

    known: tuple[str, ...] = ()
    unknown: int = 0
    before: int = 0
    changed: tuple[str, ...] = ()
    ended: str = ""


def enrich(
    hub: KnowsFiles,
    store: GraphStore,
    scouted: Scouted,
    sums: HashMemo,
    *,
    tell: Tell,
    patience: float = 0.0,
    again: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Enriched:
    """Ask a hub for every file of a folder that is registered, a hundred at a time.

    Args:
        hub: who is asked.
        store: the graph that is written.
        scouted: what was asked before, and where the answers are kept.
        sums: hashes of files.
        tell: told of each file that is known there.
        patience: seconds that may be spent on waiting for a busy hub.
        again: ask once more for what it did not know.
        stopped: asked before each batch; once it says yes, the rest is left for another time.

    Raises:
        UserError, ExternalError: nothing at all can be had from the hub.
    """
    asked = scouted.published()
    local = [e for e in store.as_found() if e.ref.source == Folder.name and not e.missing]
    fresh = [e for e in local if e.sha256 not in asked or (again and not asked[e.sha256])]
    waiting = Patience(patience, stopped, tell)
    known: list[Expert] = []
    unknown, ended = 0, ""
    for start in range(0, len(fresh), BATCH):
        batch = fresh[start : start + BATCH]
        if stopped():
            ended = "it was stopped"
            break
        try:
            found = waiting.ask(lambda batch=batch: list(hub.published([_sums(e, sums) for e in batch])))  # type: ignore[misc]
        except (AccessDenied, UserError, ExternalError) as error:
            if not start:
                raise
            ended = reason(error)
            break
        scouted.keep_published((one.sha256, said.model_dump_json() if said else "") for one, said in found)
        there = {one.sha256 for one, said in found if said is not None}
        known += [e for e in batch if e.sha256 in there]
        unknown += sum(e.sha256 not in there for e in batch)
        for expert in batch:
            if expert.sha256 in there:
                tell("known", f"{expert.id} is known there")
    changed = _read_anew(known, store, scouted, sums, tell, stopped)
    return Enriched(
        known=tuple(e.id for e in known),
        unknown=unknown,
        before=len(local) - len(fresh),
        changed=tuple(changed),
        ended=ended,
    )


def _sums(expert: Expert, sums: HashMemo) -> FileSums:
    path = _path(expert)
    return FileSums(sha256=expert.sha256, claimed=sums.claimed(path), payload=expert.payload_sha256)


def _path(expert: Expert) -> Path:
    return Path(unquote(expert.ref.repo), expert.ref.file)


def _read_anew(
    known: Iterable[Expert],
    store: GraphStore,
    scouted: Scouted,
    sums: HashMemo,
    tell: Tell,
    stopped: Callable[[], bool],
) -> list[str]:
    """Have the folder's own scan look at these files again, each folder as it was scouted."""
    folders: dict[Path, list[str]] = {}
    for expert in known:
        folders.setdefault(Path(unquote(expert.ref.repo)), []).append(_path(expert).as_posix())
    changed: list[str] = []
    for folder, places in folders.items():
        scouted.forget(Folder.name, places)
        try:
            found: Report = scan(Folder(folder), store, scouted, sums, tell=tell, stopped=stopped)
        except UserError as error:  # gone since
            tell("refused", f"{folder}: {reason(error)}")
            continue
        changed += found.changed
    return changed
