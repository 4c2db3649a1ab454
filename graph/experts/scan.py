"""A folder looked through: what is new, changed, moved, gone, twice there or no expert, in one report.

Nothing is read twice unless it changed. A file that lies elsewhere now keeps its id, and with it what its user said and
what was measured. What came of each batch is kept before the next is begun, so a look that was stopped goes on there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ...errors import ExpertError, UserError
from ...files.header import read_header
from ...files.payload_hash import HashMemo
from .card import Card, parse_card
from .expert import Expert, Frozen, SourceRef
from .registration import Weights, expert_of, in_pieces, is_shard, name_of, reason, register_files, title_of
from .said import Said
from .scouted import Outcome, Scouted, Seen
from .sidecars import read_sidecar
from .sources.folder import Folder
from .sources.tree import Odd, Place

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore

BATCH = 256
"""Places that are read before what came of them is kept, …"""
BATCH_SECONDS = 20.0
"""… unless reading them takes longer than this."""
Tell = Callable[[str, str], None]
"""Told of each event: its kind (registered, changed, moved, missing, same, refused) and a sentence."""


class NotTaken(Frozen):
    """A place that is no expert, and why."""

    place: str
    why: str


class SameBytes(Frozen):
    """A place with the bytes of an expert that lies elsewhere as well."""

    expert: str
    place: str


class Report(Frozen):
    """What a look at a folder found.

    Attributes:
        new: experts that the graph did not hold. changed, moved, missing: ids of those that it did.
        same: places with the bytes of another. refused: what is no expert and was not told before.
        unchanged: places that were not read again. refused_before: those of them that are no experts.
        rest: whether something is left for another look (a limit, or a very large folder).
        ended: why the look ended before its end, where its source is to blame.
    """

    new: tuple[Expert, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    same: tuple[SameBytes, ...] = ()
    refused: tuple[NotTaken, ...] = ()
    unchanged: int = 0
    refused_before: int = 0
    rest: bool = False
    ended: str = ""

    @property
    def anything(self) -> bool:
        """Whether the graph is another than before, or something is to be told."""
        return bool(self.new or self.changed or self.moved or self.missing or self.same or self.refused)


def scan(
    folder: Folder,
    store: GraphStore,
    scouted: Scouted,
    sums: HashMemo,
    *,
    tell: Tell,
    limit: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    keep: Callable[[list[Expert]], list[Expert]] = lambda made: made,
) -> Report:
    """Look through a folder and bring the graph up to it.

    Args:
        folder: where.
        store: the graph that is written.
        scouted: what came of earlier looks.
        sums: hashes of files that were read before.
        tell: told of each event as it happens.
        limit: register at most so many new experts.
        stopped: asked before each file; once it says yes, the rest is left for another look.
        keep: leaves those experts of a place that may be registered; raises ExpertError if there is none.

    Raises:
        UserError: no such folder, or the graph cannot be written.
    """
    look = _Look(folder, store, scouted, sums, tell)
    look.only = keep
    try:
        look.all(limit, stopped)
    finally:
        look.flush()
    return look.report()


class _Look:
    """One look at one folder."""

    def __init__(self, folder: Folder, store: GraphStore, scouted: Scouted, sums: HashMemo, tell: Tell) -> None:
        self.folder, self.store, self.scouted, self.sums, self.tell = folder, store, scouted, sums, tell
        self.only: Callable[[list[Expert]], list[Expert]] = lambda made: made
        self.under = folder.root.as_posix().rstrip("/") + "/"
        self.seen = scouted.at(folder.name, self.under)
        self.published = scouted.published()
        said = store.as_found()
        self.known = {e.id: e for e in said}
        self.mine = {e.sha256: e for e in said if e.ref.source == folder.name}
        self.lying = {_path(e.ref): e for e in said if e.ref.source == folder.name}
        self.new: dict[str, Expert] = {}
        self.changed: list[str] = []
        self.moved: list[str] = []
        self.missing: list[str] = []
        self.same: list[SameBytes] = []
        self.refused: list[NotTaken] = []
        self.unchanged = self.refused_before = 0
        self.rest = False
        self._experts: dict[str, Expert] = {}
        self._places: list[Seen] = []
        self._kept_at = time.monotonic()

    # -- the look

    def all(self, limit: int | None, stopped: Callable[[], bool]) -> None:
        """Every place, then what is gone."""
        tree = self.folder.tree()
        here = {self._name(place.path) for place in tree.places}
        for odd in tree.odd:
            self._odd(odd)
        for place in tree.places:
            if stopped() or (limit is not None and len(self.new) >= limit):
                self.rest = True
                break
            self._place(place)
            if len(self._places) >= BATCH or time.monotonic() - self._kept_at >= BATCH_SECONDS:
                self.flush()
        self.rest |= tree.cut
        if tree.cut:
            self._refuse(self.folder.root, "", "holds more than one look takes in: scout its folders one by one")
        if not self.rest and not tree.part:
            self._gone(here | {self._name(odd.path) for odd in tree.odd})

    def _place(self, place: Place) -> None:
        name = self._name(place.path)
        before = self.seen.get(name)
        if before is not None and before.stamp == place.stamp and self._holds(before):
            self.unchanged += 1
            self.refused_before += before.outcome == "refused"
            return
        try:
            made = self._repository(place) if place.repository else [self._loose(place)]
        except (ExpertError, UserError) as error:
            self._refuse(place.path, place.stamp, reason(error))
        except OSError as error:  # gone or forbidden since its folder was listed
            self._refuse(place.path, place.stamp, f"{place.path.name} cannot be read: {error.strerror or error}")
        else:
            if self._taken(place, made):
                return
        for expert_id in before.experts if before is not None else ():
            self._lost(expert_id, place.path)

    def _taken(self, place: Place, made: list[Expert]) -> bool:
        """Put the experts of a place into the graph, if they may be."""
        try:
            made = self.only(made)
        except ExpertError as error:
            self._refuse(place.path, "", reason(error))  # not remembered: it depends on the base at work
            return False
        twins = len(self.same)
        ids = tuple(self._take(expert) for expert in made)
        outcome: Outcome = "same" if len(self.same) - twins == len(ids) else "expert"
        self._places.append(Seen(self._name(place.path), place.stamp, outcome, ids))
        return True

    def _holds(self, before: Seen) -> bool:
        """Whether what came of a place is still so: the graph may have been made anew since."""
        if before.outcome == "refused":
            return True
        return all(i in self.known and not self.known[i].missing for i in before.experts)

    def _loose(self, place: Place) -> Expert:
        path = place.path
        if is_shard(path.name):
            raise ExpertError(in_pieces(path.name), path=str(path))
        header = read_header(path)
        try:
            sha256, payload = self.sums.both(path)
        except OSError as error:
            raise ExpertError(f"{path.name} cannot be read: {error.strerror or error}", path=str(path)) from error
        ref = self.folder.loose(path, sha256)
        weights = Weights(ref, header, sha256, header.size_bytes, payload)
        witnesses = [*self._beside(place), *self._on_hubs(sha256), name_of(path.name)]
        title = title_of(f"{path.parent.name}/{path.name}")
        made = expert_of(weights, witnesses, id="new", title=title)
        return made.model_copy(update={"preview": place.preview, "id": self._id(path, sha256)})

    def _beside(self, place: Place) -> Iterable[Said]:
        """What lies beside a loose file; what cannot be read of it is told and passed over."""
        for path, kind in place.sidecars:
            try:
                said = read_sidecar(path, kind, place.path.name)
            except ExpertError as error:
                self._refuse(path, "", reason(error))
                continue
            if said is not None:
                yield said

    def _on_hubs(self, sha256: str) -> Iterable[Said]:
        """What a hub was found to say of a file with these bytes (`enrich`)."""
        if said := self.published.get(sha256):
            yield Said.model_validate_json(said)

    def _repository(self, place: Place) -> list[Expert]:
        """The experts of a repository; files of it that are none are told."""
        repo = self.folder.repo_name(place.path)
        try:
            card = parse_card(self.folder.card(repo), place.path.name)
        except ExpertError as error:
            self._refuse(place.path / "README.md", "", reason(error))
            card = Card()
        done = register_files(self.folder, self.folder.info(repo), card)
        if not done.experts:
            raise done.refused[0][1]
        for file, why in done.refused:
            self._refuse(place.path / file, "", reason(why))
        return done.experts

    # -- what becomes of one expert

    def _take(self, expert: Expert) -> str:
        """Put an expert of a place into the graph; the id under which it is there."""
        twin, path = self.mine.get(expert.sha256), _path(expert.ref)
        if twin is not None and _path(twin.ref) != path:
            if _lies(twin.ref):
                return self._also(twin, expert)
            return self._again(twin, expert, self.moved, "moved")
        before = twin or self.lying.get(path) or self.known.get(expert.id)
        if before is not None:
            return self._again(before, expert, self.changed, "changed")
        self.new[expert.id] = expert
        self._keep(expert)
        self.tell("registered", f"registered {expert.id} ({expert.kind}, {expert.base_family})")
        return expert.id

    def _again(self, before: Expert, expert: Expert, listed: list[str], kind: str) -> str:
        """An expert that is known, with where it lies and what is said of it today."""
        same_file = before.sha256 == expert.sha256 and _path(before.ref) == _path(expert.ref)
        ref = before.ref if same_file else expert.ref
        others = tuple(one for one in before.also_at if one != str(ref))
        kept = expert.model_copy(update={"id": before.id, "ref": ref, "also_at": others})
        if kept == before:
            self.unchanged += 1
            return before.id
        self._keep(kept)
        listed.append(before.id)
        self.tell(kind, f"{kind} {before.id}: {expert.ref.file}")
        return before.id

    def _also(self, twin: Expert, expert: Expert) -> str:
        """The same bytes in a second place: one expert, both places."""
        there = str(expert.ref)
        if there not in twin.also_at:
            self._keep(twin.model_copy(update={"also_at": (*twin.also_at, there)[:16]}))
            self.same.append(SameBytes(expert=twin.id, place=there))
            self.tell("same", f"{expert.ref.file} has the bytes of {twin.id}")
        return twin.id

    # -- what is no expert, what is gone

    def _odd(self, odd: Odd) -> None:
        name = self._name(odd.path)
        before = self.seen.get(name)
        if before is not None and before.outcome == "refused" and before.stamp == odd.stamp:
            self.refused_before += 1
            self.unchanged += 1
            return
        self._refuse(odd.path, odd.stamp, f"{odd.path.name} {odd.why}")

    def _refuse(self, path: Path, stamp: str, why: str) -> None:
        """Tell why a place is no expert; with a stamp it is remembered, too."""
        name = self._name(path)
        shown = name.rpartition("/")[2]
        why = why.encode("utf-8", "replace").decode().replace(name, shown)
        self.refused.append(NotTaken(place=name, why=why))
        self.tell("refused", f"{shown}: {why}")
        if stamp:
            self._places.append(Seen(name, stamp, "refused", (), why))

    def _gone(self, here: set[str]) -> None:
        """Mark what was here and is no more; whoever has another place lies there from now on."""
        gone = {name: seen for name, seen in self.seen.items() if name not in here}
        for name, seen in gone.items():
            for expert_id in seen.experts:
                self._lost(expert_id, Path(name))
        self.flush()
        self.scouted.forget(self.folder.name, gone)

    def _lost(self, expert_id: str, path: Path) -> None:
        """An expert that is no longer at one of its places."""
        expert = self.known.get(expert_id)
        if expert is None or expert.missing:
            return
        others = [ref for ref in map(SourceRef.parse, expert.also_at) if _path(ref) != path and _lies(ref)]
        if _lies(expert.ref) and not path.is_relative_to(_path(expert.ref)):
            self._keep(expert.model_copy(update={"also_at": tuple(map(str, others))}))
        elif others:
            moved = {"ref": others[0], "also_at": tuple(map(str, others[1:]))}
            self._keep(expert.model_copy(update=moved))
            self.moved.append(expert_id)
            self.tell("moved", f"moved {expert_id}: {others[0].file}")
        else:
            self._keep(expert.model_copy(update={"missing": True}))
            self.missing.append(expert_id)
            self.tell("missing", f"missing {expert_id}: {expert.ref.file} is gone, or is no expert any more")

    # -- keeping

    def _keep(self, expert: Expert) -> None:
        self._experts[expert.id] = self.known[expert.id] = self.mine[expert.sha256] = expert
        self.lying[_path(expert.ref)] = expert

    def flush(self) -> None:
        """Keep what came of the places so far."""
        experts, places = list(self._experts.values()), self._places
        self._experts, self._places = {}, []
        if experts:
            self.store.add_experts(experts)
        self.scouted.keep(self.folder.name, places)
        self.sums.save()
        self._kept_at = time.monotonic()

    def report(self) -> Report:
        """What was found."""
        return Report(
            new=tuple(self.new.values()),
            changed=tuple(dict.fromkeys(self.changed)),
            moved=tuple(dict.fromkeys(self.moved)),
            missing=tuple(self.missing),
            same=tuple(self.same),
            refused=tuple(self.refused),
            unchanged=self.unchanged,
            refused_before=self.refused_before,
            rest=self.rest,
        )

    def _name(self, path: Path) -> str:
        return path.as_posix().encode("utf-8", "replace").decode()

    def _id(self, path: Path, sha256: str) -> str:
        """A readable id for a loose file that nobody has: its name, its folder and name, its name and hash."""
        stem = _slug(path.stem) or sha256[:8]
        folder = _slug(path.parent.name) or "folder"
        for name in (stem, f"{folder}/{stem}", f"{stem}-{sha256[:6]}"):
            made = f"{self.folder.name}/{name}"
            if made not in self.known:
                return made
        return f"{self.folder.name}/{stem}-{sha256[:16]}"


def _path(ref: SourceRef) -> Path:
    """Where a file of the folder source lies."""
    return Path(unquote(ref.repo)) / ref.file


def _lies(ref: SourceRef) -> bool:
    return _path(ref).is_file()


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80]
