"""Nodes, edges and records in the database's collections: typed in and out, embedded where they are searched.

Collections: ``experts.<family>`` (one vector an expert: its skill text), ``skills.<family>.<facet>`` (vectors of each
skill's names), ``prompts`` (reference prompts), ``calibrations``, ``relations``, ``runs``, ``own-words`` (what users
say of experts). Partitioned rather than filtered, because a metadata filter costs time linear in the collection. Every
collection of texts carries model id and dimension.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ..calibration.reference_prompts import ReferencePrompt
from ..embedding import Embedder
from ..experts.expert import Expert, Skill
from ..experts.own_words import OwnRecord, applied
from ..finding.index import WordIndex
from .chroma import Database
from .pages import Row
from .rows import digest, joined_names, partition, skill_names
from .words import Words

_TEXTS = ("experts", "skills", "prompts")
OWN = "own-words"
"""The collection of what users say of experts themselves."""
Known = tuple[Expert, int]
"""An expert, and when it first came, in nanoseconds: tells original from copy."""
Vectors = dict[str, NDArray[np.float32]]
"""Text -> unit vector."""


class Tables:
    """Reads and writes what a `Database` holds; ``embedder`` embeds texts that come without a vector."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self.database, self.embedder = database, embedder
        self.words = Words(database.home_for("words.sqlite3"))

    def check_model(self) -> None:
        """Raise UserError if texts were embedded with another model than this one."""
        model, dim = self.embedder.model_id, self.embedder.dim
        for name, collection in self.database.read(lambda c: dict(c)).items():
            said = collection.metadata or {}
            if name.split(".")[0] in _TEXTS and (said.get("model"), said.get("dim")) != (model, dim):
                raise UserError(
                    f"The graph in {self.database.folder} was embedded with {said.get('model')} ({said.get('dim')} "
                    f"numbers), not {model} ({dim}). Open it with that model, or export it to JSONL and import it into "
                    "a new folder, which embeds it anew."
                )

    # -- experts

    def experts(self, family: str | None = None) -> list[Known]:
        """All experts and bases (of a family), sorted by id."""
        only = None if family is None else f"experts.{partition(family)}"
        rows = self.database.rows("experts." if only is None else only, whole_name=only is not None)
        found = [(Expert.model_validate_json(row.document), int(row.meta["registered"])) for row in rows]
        return sorted(found, key=lambda pair: pair[0].id)

    def expert(self, expert_id: str) -> Expert | None:
        """One expert or base, or None."""
        found = self.database.documents("experts.", expert_id)
        return Expert.model_validate_json(found[0]) if found else None

    def known(self, ids: Iterable[str]) -> dict[str, Known]:
        """Experts and bases by id; unknown ids are left out."""
        rows = self.database.by_id("experts.", ids)
        found = ((Expert.model_validate_json(row.document), int(row.meta["registered"])) for row in rows)
        return {expert.id: (expert, at) for expert, at in found}

    def write_experts(self, rows: Iterable[Known], vectors: Vectors | None = None) -> list[Known]:
        """Add or replace experts and their skills, each with its user's own words; what would change nothing is left
        alone.

        Returns:
            What was written.
        """
        given = self._with_own_words(list(rows))
        known = self.known(e.id for e, _ in given)
        changed = [(e, at) for e, at in given if known.get(e.id) != (e, at)]
        if not changed:
            return []
        batches = _expert_rows(changed, self._embedded([t for e, _ in changed for t in _texts(e)], vectors or {}))
        index, before = self.index(), self.database.stamp()
        with self.database.writing(), index.unfinished():
            for expert in (known[e.id][0] for e, _ in changed if e.id in known):
                self._forget(expert)
            for name, records in batches.items():
                self._upsert(name, records, texts=True)
            index.put(e for e, _ in changed)
        self.words.in_step(before, self.database.stamp())
        return changed

    def index(self) -> WordIndex:
        """The index of words, in step with the experts."""
        database = self.database
        return self.words.opened(
            database.stamp(), self._count, lambda: (e for e, _ in self.experts()), database.try_lock
        )

    def _count(self) -> int:
        return self.database.read(lambda c: sum(one.count() for n, one in c.items() if n.startswith("experts.")))

    # -- what users say themselves

    def own_words(self) -> dict[str, OwnRecord]:
        """Expert's id -> its user's words."""
        records = (OwnRecord.model_validate_json(row.document) for row in self.records(OWN))
        return {record.expert_id: record for record in records}

    def put_own_words(self, record: OwnRecord) -> None:
        """Add or replace a user's words; the node itself is written by `write_experts`."""
        self.put(OWN, digest(record.expert_id), record.model_dump_json(), {"expert": record.expert_id})

    def _with_own_words(self, rows: list[Known]) -> list[Known]:
        """Experts as their users want them; what was found is kept beside the words."""
        said = {record.expert_id: record for record in self._own_of([e.id for e, _ in rows])}
        out: list[Known] = []
        for expert, at in rows:
            record = said.get(expert.id)
            if record is not None:
                self.put_own_words(record.model_copy(update={"found": expert}))
                expert = applied(record.words, expert)
            out.append((expert, at))
        return out

    def _own_of(self, ids: list[str]) -> list[OwnRecord]:
        rows = self.database.by_id(OWN, [digest(i) for i in dict.fromkeys(ids)])
        return [OwnRecord.model_validate_json(row.document) for row in rows]

    def _embedded(self, texts: list[str], vectors: Vectors) -> Vectors:
        missing = [t for t in dict.fromkeys(texts) if t not in vectors]
        return {**vectors, **dict(zip(missing, self.embedder.embed(missing), strict=True))} if missing else vectors

    def _forget(self, expert: Expert) -> None:
        part = partition(expert.base_family)
        self.database.delete(f"experts.{part}", ids=[expert.id])
        for facet in {s.facet for s in expert.skills}:
            self.database.delete(f"skills.{part}.{facet}", where={"expert": expert.id})

    # -- reference prompts

    def prompts(self) -> list[ReferencePrompt]:
        """Reference prompts in the order in which they were added."""
        return [ReferencePrompt.model_validate_json(row.document) for row in self.records("prompts", "order")]

    def add_prompts(self, prompts: Iterable[ReferencePrompt], vectors: Vectors | None = None) -> None:
        """Add reference prompts; known ones are left alone."""
        known = {p.id for p in self.prompts()}
        added = [p for p in prompts if p.id not in known]
        if added:
            made = self._embedded([p.text for p in added], vectors or {})
            rows = [
                Row(p.id, p.model_dump_json(), {"order": len(known) + i}, made[p.text]) for i, p in enumerate(added)
            ]
            self._upsert("prompts", rows, texts=True)

    # -- records: found by id, never by meaning

    def records(self, name: str, order: str = "at", where: dict[str, Any] | None = None) -> list[Row]:
        """Rows of a collection, oldest first."""
        return sorted(self.database.rows(name, where=where), key=lambda row: (row.meta[order], row.key))

    def put(self, name: str, key: str, document: str, meta: dict[str, Any], *, again: bool = False) -> None:
        """Add or replace a record; the same one twice changes nothing, unless it shall be the newest ``again``."""
        if again or self.database.documents(name, key) != [document]:
            self.put_many(name, [Row(key, document, {**meta, "at": time.time_ns()})])

    def put_many(self, name: str, rows: Iterable[Row]) -> None:
        """Records as they are. Their vector only has to differ from others', or the index degenerates."""
        records = []
        for row in rows:
            raw = hashlib.sha256(row.key.encode()).digest()
            vector = (np.frombuffer(raw[:2], np.uint8) / 256 + 0.001).astype(np.float32)
            records.append(Row(row.key, row.document, row.meta, vector))
        if records:
            self._upsert(name, records, texts=False)

    def _upsert(self, name: str, rows: list[Row], *, texts: bool) -> None:
        metadata: dict[str, Any] = {"schema": 1}
        if texts:
            metadata |= {"model": self.embedder.model_id, "dim": self.embedder.dim}
        self.database.upsert(name, rows, metadata)

    # -- vectors

    def vectors(self) -> Vectors:
        """Every embedded text, as the database holds it."""
        found: Vectors = {}
        for kind in _TEXTS:
            whole = kind == "prompts"
            for row in self.database.rows(kind if whole else f"{kind}.", whole_name=whole, vectors=True):
                if kind == "experts":
                    text = _texts(Expert.model_validate_json(row.document))[0]
                elif kind == "prompts":
                    text = ReferencePrompt.model_validate_json(row.document).text
                else:
                    text = skill_names(Skill.model_validate_json(row.document))[int(row.key.rsplit("|", 1)[1])]
                if row.vector is not None:
                    found.setdefault(text, row.vector)
        return found


def texts_of(expert: Expert) -> list[str]:
    """The texts that an expert is found by, each once."""
    return list(dict.fromkeys(_texts(expert)))


def _texts(expert: Expert) -> list[str]:
    return [expert.text or expert.title, *(n for s in expert.skills for n in skill_names(s))]


def _expert_rows(experts: list[Known], vectors: Vectors) -> dict[str, list[Row]]:
    """Collection -> its rows."""
    batches: dict[str, list[Row]] = {}
    for expert, at in experts:
        part = partition(expert.base_family)
        row = Row(expert.id, expert.model_dump_json(), {"registered": at}, vectors[expert.text or expert.title])
        batches.setdefault(f"experts.{part}", []).append(row)
        for number, skill in enumerate(expert.skills):
            target = batches.setdefault(f"skills.{part}.{skill.facet}", [])
            document = skill.model_dump_json()
            for n, name in enumerate(skill_names(skill)):
                meta = {"expert": expert.id, "number": number, "joined": name == joined_names(skill)}
                target.append(Row(f"{expert.id}|{number}|{n}", document, meta, vectors[name]))
    return batches
