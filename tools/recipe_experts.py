"""Which of our experts a foreign recipe means: by hash first, by name second; what is not here is named."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from ..errors import DiffGraphError, UserError
from ..files.payload_hash import HashMemo
from ..graph.experts.expert import Expert, Frozen
from ..graph.experts.sources.folder import LocalRepos
from ..merging.plan.foreign.recipe import ForeignExpert
from ..merging.plan.foreign.values import fold, stem, without_version
from ..settings import user_path
from .context import Context

By = Literal["hash", "name", "other version", "several", "missing"]
MAX_FILES = 10_000
_TOLD = 5
"""So many candidates are named."""
OnFile = Callable[[int, int], None]
"""Called with (files done, files in all) while sums are computed."""


@dataclass(frozen=True)
class Candidate:
    """One expert that is here.

    Attributes:
        id: in the graph; of a loose file its stem.
        ref: as plans name it.
        sha256: "" until it is computed, for a loose file.
        family: the base family that it is for; "" if nobody looked.
        facet: what it is mostly for.
        kind: of expert; "" if nobody looked.
        names: what it may be called in a recipe, folded.
        locate: gives `file`.
    """

    id: str
    ref: str
    sha256: str
    family: str
    facet: str
    kind: str
    names: frozenset[str]
    locate: Callable[[], Path | None]

    @cached_property
    def file(self) -> Path | None:
        """Where it lies; None if it is not on this machine."""
        return self.locate()


class Match(Frozen):
    """What became of one expert of a recipe.

    ``by``: "hash", "name" and "other version" (the name fits, the hash does not) have an ``expert``; "several" and
    "missing" have none. ``said`` is the sentence for a person.
    """

    named: ForeignExpert
    by: By
    expert: str = ""
    candidates: tuple[str, ...] = ()
    said: str = ""


@dataclass
class Shelf:
    """The experts that are here: the graph's, and the files of folders; sums are computed when they are asked for."""

    candidates: list[Candidate]
    memo: HashMemo
    on_file: OnFile | None = None

    @classmethod
    def open(cls, ctx: Context, folders: Iterable[Path], on_file: OnFile | None = None) -> Shelf:
        """The shelf of a context.

        Args:
            folders: also looked through, with everything below them, for files that nobody registered.

        Raises:
            UserError: a folder that is not there.
        """
        experts = [_registered(ctx, expert) for expert in ctx.store.experts()]
        files = list(_files(folders))
        known = {os.path.realpath(one.file) for one in experts if files and one.file is not None}
        loose = [_loose(path) for path in files if os.path.realpath(path) not in known]
        return cls(experts + loose, HashMemo(ctx.settings.root / "file-sums.json"), on_file)

    def sha256(self, one: Candidate) -> str:
        """sha256 of a candidate's file; "" if it is not here or cannot be read."""
        if one.sha256 or one.file is None:
            return one.sha256
        try:
            return self.memo.sha256(one.file)
        except OSError:
            return ""

    def match(self, named: ForeignExpert, family: str) -> tuple[Match, Candidate | None]:
        """The candidate that a recipe's expert means, among equals one for ``family``; None if none can be told."""
        called = [one for one in self.candidates if named.name and fold(named.name) in one.names]
        same = self._by_hash(named.hashes, called)
        if same:
            chosen = _best(same, family)[0]
            mine = self.sha256(chosen).startswith(named.hashes)
            checked = mine or any(digest.startswith(named.hashes) for digest in self._all(chosen))
            said = (
                "" if checked else f"{chosen.id} is taken by the hash that its header claims; its tensors have another"
            )
            return Match(named=named, by="hash", expert=chosen.id, said=said), chosen
        best = [one for one in _best(called, family) if self.sha256(one)]
        if len({self.sha256(one) for one in best}) == 1:
            return self._by_name(named, best[0]), best[0]
        if best:
            ids = tuple(one.id for one in best)
            said = (
                f"several experts are called {named.name}: {', '.join(ids[:_TOLD])}; put the one you mean into the plan"
            )
            return Match(named=named, by="several", candidates=ids, said=said), None
        return self._missing(named), None

    def _by_hash(self, wanted: tuple[str, ...], first: list[Candidate]) -> list[Candidate]:
        """Candidates with one of the sums: sums that are known, then those of files of the name, then of all files."""
        if not wanted:
            return []
        known = [one for one in self.candidates if one.sha256.startswith(wanted)]
        if known:
            return known
        local = [one for one in self.candidates if one.file is not None]
        for group, sums in ((first, self._all), (local, self._claimed), (local, self._all)):
            found = []
            for at, one in enumerate(group):
                if any(digest.startswith(wanted) for digest in sums(one)):
                    found.append(one)
                if sums is self._all and self.on_file is not None:
                    self.on_file(at + 1, len(group))
            if found:
                return found
        return []

    def _claimed(self, one: Candidate) -> tuple[str, ...]:
        """What its header says; it is believed, as A1111 does, which writes that very sum."""
        return self.memo.claimed(one.file) if one.file is not None else ()

    def _all(self, one: Candidate) -> tuple[str, ...]:
        """A file's own sha256 and that of its tensors; nothing for a file that has gone."""
        if one.file is None:
            return ()
        try:
            return self.sha256(one), self.memo.payload(one.file)
        except OSError:
            return ()

    def _by_name(self, named: ForeignExpert, one: Candidate) -> Match:
        if not named.hashes:
            said = f"{named.name} is taken by its name: the recipe gives no hash"
            return Match(named=named, by="name", expert=one.id, said=said)
        if one.file is None:
            said = f"{named.name} is taken by its name: its file is not here to compare the hash"
            return Match(named=named, by="name", expert=one.id, said=said)
        here = f"hash {self.sha256(one)[:10]} here, {named.hashes[0]} in the recipe"
        said = f"{one.id} is another version of {named.name}: {here}"
        return Match(named=named, by="other version", expert=one.id, said=said)

    def _missing(self, named: ForeignExpert) -> Match:
        """What to say of an expert that is not here: what it is called, and where it may be had."""
        bare = without_version(named.name)
        near = [one for one in self.candidates if bare and bare in {without_version(n) for n in _said_names(one)}]
        called = named.name or "an expert without a name"
        about = [f"hash {named.hashes[0]}"] if named.hashes else []
        about += [named.where] if named.where else []
        said = f"missing: {called}" + (f" ({', '.join(about)})" if about else "")
        if near:
            said += f"; another version may be {', '.join(one.id for one in near[:_TOLD])}"
        wanted = stem(named.name) or (named.hashes or ("",))[0] or named.where
        said += f"; search your source for {wanted!r}" if wanted else ""
        return Match(named=named, by="missing", candidates=tuple(one.id for one in near[:_TOLD]), said=said)


def _said_names(one: Candidate) -> Iterator[str]:
    yield one.id.rpartition("/")[2]
    if one.file is not None:
        yield one.file.name


def _best(found: list[Candidate], family: str) -> list[Candidate]:
    """Those for the family, or of no known one, if there are any; in a stable order, registered ones first."""
    fitting = [one for one in found if one.family in (family, "", "unknown")] or found
    return sorted(fitting, key=lambda one: (not one.family, one.id))


def _registered(ctx: Context, expert: Expert) -> Candidate:
    names = {expert.id, expert.title, stem(expert.ref.file), unquote(expert.ref.repo).rstrip("/").rpartition("/")[2]}
    facets = [skill.facet for skill in expert.skills]
    return Candidate(
        id=expert.id,
        ref=str(expert.ref),
        sha256=expert.sha256,
        family=expert.base_family,
        facet=max(facets, key=facets.count) if facets else "subject",
        kind=expert.kind,
        names=frozenset(filter(None, map(fold, names))),
        locate=partial(_on_this_machine, ctx, expert),
    )


def _on_this_machine(ctx: Context, expert: Expert) -> Path | None:
    """The expert's file, if its source is a folder here: nothing is fetched to compare sums."""
    try:
        source = ctx.source(expert.ref.source)
        return source.fetch(expert.ref) if isinstance(source, LocalRepos) else None
    except DiffGraphError:
        return None


def weight_files(folders: Iterable[Path]) -> list[Path]:
    """The safetensors files of folders and below them. Raises UserError for a folder that is not there."""
    return list(_files(folders))


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        folder = user_path(folder)
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder} to look for experts in.")
        yield from itertools.islice(sorted(folder.rglob("*.safetensors")), MAX_FILES)


def _loose(path: Path) -> Candidate:
    folder = quote(path.parent.resolve().as_posix(), safe="/")
    names = frozenset(filter(None, (fold(path.name),)))
    return Candidate(path.stem, f"folder:{folder}@local:{path.name}", "", "", "subject", "", names, lambda: path)
