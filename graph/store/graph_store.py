"""The expert graph on Chroma: experts, their skills, reference prompts, calibrations, relations and past runs.

Collections (DESIGN.md 5): ``experts.<family>`` (one vector an expert: its skill text), ``skills.<family>.<facet>``
(vectors of each skill's names), ``prompts`` (reference prompts), ``calibrations``, ``relations``, ``runs``. Partitioned
rather than filtered, because a metadata filter costs time linear in the collection. Every collection of texts carries
model id and dimension, checked at open.
"""

from __future__ import annotations

import difflib
import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files.atomic import write_bytes
from ..calibration.record import Calibration
from ..calibration.reference_prompts import ReferencePrompt
from ..embedding import Embedder, default_embedder
from ..experts.expert import FACETS, Expert, Facet
from ..relations.relation import Relation
from .chroma import Place
from .rows import Hit, View, digest, first_document, group_hits, joined_names, partition, skill_names
from .runs import RunRecord

_TEXTS = ("experts", "skills", "prompts")


class GraphStore:
    """The graph in a folder (``path``), or on a Chroma server (``url``). Opening and listing load no model.

    Use as a context manager, or call :meth:`close`. The first write makes this process the writer until it closes;
    another process can read, and its runs are kept aside until the next writer takes them in.

    Raises:
        UserError: the graph was made with another embedding model.
        ExternalError: damaged, or the server does not answer.
    """

    def __init__(self, path: Path, embedder: Embedder | None = None, *, url: str | None = None) -> None:
        self.path = Path(path).expanduser().absolute()
        self._embedder = embedder
        self._place = Place.open(self.path, url)
        self._views: dict[str, View] = {}
        try:
            self._check_model()
        except UserError:
            self._place.close()
            raise

    def __enter__(self) -> GraphStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the place back; a second call does nothing."""
        place, self._place = getattr(self, "_place", None), None  # type: ignore[assignment]
        if place is not None:
            place.close()

    @property
    def embedder(self) -> Embedder:
        """Who embeds texts here; MiniLM unless one was given. Asking for it loads nothing."""
        return self._embedder or default_embedder()

    def _check_model(self) -> None:
        model, dim = self.embedder.model_id, self.embedder.dim
        for name, collection in self._place.read(lambda c: dict(c)).items():
            said = collection.metadata or {}
            if name.split(".")[0] in _TEXTS and (said.get("model"), said.get("dim")) != (model, dim):
                raise UserError(
                    f"The graph in {self.path} was embedded with {said.get('model')} ({said.get('dim')} numbers), not "
                    f"{model} ({dim}). Open it with that model, or export it to JSONL and import it into a new folder, "
                    "which embeds it anew."
                )

    # -- experts

    def add_expert(self, expert: Expert, *, registered: int | None = None) -> None:
        """Add or replace an expert and its skills. The same expert twice changes nothing.

        Args:
            expert: the node; ``kind="base"`` is a base pipeline, listed by :meth:`base` rather than :meth:`experts`.
            registered: when it first came, in nanoseconds; kept if the expert is already known. Tells original from
                copy.
        """
        self.add_experts([expert], registered=registered)

    def add_experts(self, experts: Iterable[Expert], *, registered: int | None = None) -> None:
        """Many experts in few batches; see :meth:`add_expert`."""
        known = {e.id: (e, at) for e, at in self._all_experts()}
        rows = [(e, _registered(known, e, registered, i)) for i, e in enumerate(experts)]
        rows = [(e, at) for e, at in rows if known.get(e.id) != (e, at)]
        if rows:
            self._write_experts(rows, {}, [known[e.id][0] for e, _ in rows if e.id in known])

    def _write_experts(
        self, rows: list[tuple[Expert, int]], vectors: dict[str, NDArray[np.float32]], old: list[Expert]
    ) -> None:
        texts = [t for e, _ in rows for t in (e.text or e.title, *(n for s in e.skills for n in skill_names(s)))]
        missing = [t for t in dict.fromkeys(texts) if t not in vectors]
        vectors = {**vectors, **dict(zip(missing, self.embedder.embed(missing), strict=True))} if missing else vectors
        batches: dict[str, list[tuple[str, NDArray[np.float32], dict[str, Any], str]]] = {}
        for expert, at in rows:
            part = partition(expert.base_family)
            batches.setdefault(f"experts.{part}", []).append(
                (expert.id, vectors[expert.text or expert.title], {"registered": at}, expert.model_dump_json())
            )
            for number, skill in enumerate(expert.skills):
                target = batches.setdefault(f"skills.{part}.{skill.facet}", [])
                for n, name in enumerate(skill_names(skill)):
                    joined = name == joined_names(skill)
                    meta = {"expert": expert.id, "number": number, "joined": joined}
                    target.append((f"{expert.id}|{number}|{n}", vectors[name], meta, skill.model_dump_json()))
        with self._place.writing():
            for expert in old:
                self._forget(expert)
            for name, records in batches.items():
                self._upsert(name, records, texts=True)

    def _forget(self, expert: Expert) -> None:
        collections = self._place.collections()
        part = partition(expert.base_family)
        if f"experts.{part}" in collections:
            collections[f"experts.{part}"].delete(ids=[expert.id])
        for facet in {s.facet for s in expert.skills}:
            if f"skills.{part}.{facet}" in collections:
                collections[f"skills.{part}.{facet}"].delete(where={"expert": expert.id})

    def expert(self, expert_id: str) -> Expert:
        """One expert (or base). UserError, with the closest ids, if there is none."""
        everyone = {e.id: e for e, _ in self._all_experts()}
        if expert_id not in everyone:
            near = difflib.get_close_matches(expert_id, everyone, n=3, cutoff=0.4)
            near += [
                i for i in sorted(everyone) if expert_id and expert_id.casefold() in i.casefold() and i not in near
            ][:3]
            hint = f" Did you mean {', '.join(near)}?" if near else " `diffgraph experts` lists them."
            raise UserError(f"There is no expert {expert_id!r} in the graph.{hint}")
        return everyone[expert_id]

    def experts(self, family: str | None = None) -> list[Expert]:
        """All experts (of a family), sorted by id; bases are not among them."""
        return [e for e, _ in self._all_experts(family) if e.kind != "base"]

    def bases(self) -> list[Expert]:
        """All base pipelines, sorted by id."""
        return [e for e, _ in self._all_experts() if e.kind == "base"]

    def base(self, family: str) -> Expert | None:
        """The base pipeline of a family, if registered."""
        return next((e for e, _ in self._all_experts(family) if e.kind == "base"), None)

    def families(self) -> list[str]:
        """Base families that the graph knows, sorted."""
        return sorted({e.base_family for e, _ in self._all_experts()})

    def _all_experts(self, family: str | None = None) -> list[tuple[Expert, int]]:
        def ask(collections: dict[str, Any]) -> list[tuple[Expert, int]]:
            found = []
            for name, collection in collections.items():
                if name.startswith("experts.") and (family is None or name == f"experts.{partition(family)}"):
                    got = collection.get(include=["documents", "metadatas"])
                    pairs = zip(got["documents"], got["metadatas"], strict=True)
                    found += [(Expert.model_validate_json(d), int(m["registered"])) for d, m in pairs]
            return sorted(found, key=lambda pair: pair[0].id)

        return self._place.read(ask)

    def view(self, family: str) -> View:
        """Everything that choosing experts of a family needs, read once per change of the graph."""
        stamp = self._place.stamp()
        if family not in self._views or self._views[family].stamp != stamp:
            everyone = self._all_experts()
            here = [e for e, _ in everyone if e.base_family == family]
            latest = {c.expert_id: c for c in self.calibrations()}
            hashes = {e.id: e.sha256 for e in here}
            self._views[family] = View(
                family=family,
                base=next((e for e in here if e.kind == "base"), None),
                experts=tuple(e for e in here if e.kind != "base"),
                foreign=tuple(e for e, _ in everyone if e.base_family != family and e.kind != "base"),
                registered={e.id: at for e, at in everyone},
                calibrations={i: c for i, c in latest.items() if hashes.get(i) == c.expert_sha256},
                relations=tuple(self.relations()),
                stamp=stamp,
            )
        return self._views[family]

    def search(self, text: str, family: str, facet: Facet | None = None, k: int = 8) -> list[Hit]:
        """Skills nearest in meaning to ``text``, best first. Loads the embedding model."""
        return self.search_many([text], family, (facet,) if facet else FACETS, k)[0]

    def search_many(self, texts: Sequence[str], family: str, facets: Sequence[Facet], k: int = 8) -> list[list[Hit]]:
        """:meth:`search` for several texts at once; one list of at most ``k`` hits a text."""
        vectors = self.embedder.embed(list(texts))

        def ask(collections: dict[str, Any]) -> list[list[Hit]]:
            found: list[list[Hit]] = [[] for _ in texts]
            for facet in facets:
                collection = collections.get(f"skills.{partition(family)}.{facet}")
                if collection is not None and texts:
                    # A skill has several vectors; ask for enough to have k different skills with both kinds of score.
                    got = collection.query(
                        query_embeddings=vectors,
                        n_results=max(6 * k, 48),
                        include=["documents", "metadatas", "distances"],
                    )
                    for i in range(len(texts)):
                        found[i] += group_hits(got["metadatas"][i], got["documents"][i], got["distances"][i], facet)
            return [sorted(hits, key=lambda h: (-h.score, h.expert_id, h.skill.name))[:k] for hits in found]

        return self._place.read(ask)

    # -- reference prompts, calibrations, relations, runs

    def add_reference_prompts(self, prompts: Iterable[ReferencePrompt]) -> None:
        """Add reference prompts; known ones are left alone."""
        known = {p.id for p in self.reference_prompts()}
        new = [p for p in prompts if p.id not in known]
        if new:
            start = len(known)
            rows = zip(new, self.embedder.embed([p.text for p in new]), strict=True)
            records = [(p.id, v, {"order": start + i}, p.model_dump_json()) for i, (p, v) in enumerate(rows)]
            with self._place.writing():
                self._upsert("prompts", records, texts=True)

    def reference_prompts(self) -> list[ReferencePrompt]:
        """Reference prompts in the order in which they were added."""
        return [ReferencePrompt.model_validate_json(d) for d, _ in self._documents("prompts", "order")]

    def put_calibration(self, calibration: Calibration) -> None:
        """Add a calibration, or replace the one of the same expert, file and circumstances."""
        key = f"{calibration.expert_id}|{calibration.expert_sha256}|{calibration.plan_context_hash}"
        self._put("calibrations", digest(key), calibration.model_dump_json(), {"expert": calibration.expert_id})

    def calibrations(self, expert_id: str | None = None) -> list[Calibration]:
        """Calibrations (of one expert), oldest first; the last one counts."""
        where = {"expert": expert_id} if expert_id else None
        return [Calibration.model_validate_json(d) for d, _ in self._documents("calibrations", "at", where)]

    def put_relation(self, relation: Relation) -> None:
        """Add an edge, or replace the one of the same kind between the same two."""
        key = f"{relation.kind}|{relation.a}|{relation.b}"
        self._put("relations", digest(key), relation.model_dump_json(), {"a": relation.a, "b": relation.b})

    def relations(self, expert_id: str | None = None) -> list[Relation]:
        """Edges (of one expert), sorted by ends and kind."""
        where = {"$or": [{"a": expert_id}, {"b": expert_id}]} if expert_id else None
        found = [Relation.model_validate_json(d) for d, _ in self._documents("relations", "at", where)]
        return sorted(found, key=lambda r: (r.a, r.b, r.kind))

    def record_run(self, run: RunRecord) -> None:
        """Remember a run; the same id twice changes nothing. If another process is the writer, it is kept for that
        one.
        """
        if self._place.url or self._place.try_lock():
            self._take_in_pending()
            self._put("runs", run.run_id, run.model_dump_json(), {})
        elif self._place.read_only:
            raise UserError(f"{self.path} is read-only, so the run is not remembered.")
        else:
            folder = self.path / "pending-runs"
            folder.mkdir(exist_ok=True)
            write_bytes(folder / f"{run.run_id}.json", run.model_dump_json().encode())

    def runs(self) -> list[RunRecord]:
        """Past runs, oldest first, those not yet taken in last."""
        kept = [RunRecord.model_validate_json(d) for d, _ in self._documents("runs", "at")]
        ids = {r.run_id for r in kept}
        waiting = (RunRecord.model_validate_json(p.read_text(encoding="utf-8")) for p in self._pending())
        return kept + [r for r in waiting if r.run_id not in ids]

    def _pending(self) -> list[Path]:
        return sorted((self.path / "pending-runs").glob("[!.]*.json"))

    def _take_in_pending(self) -> None:
        for path in self._pending():
            run = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
            self._put("runs", run.run_id, run.model_dump_json(), {})
            path.unlink(missing_ok=True)

    # -- export and import

    def export_jsonl(self, path: Path) -> None:
        """Write the whole graph, vectors included, as JSON lines; the same graph gives the same bytes."""
        from .jsonl import export_jsonl

        export_jsonl(self, path)

    def import_jsonl(self, path: Path) -> int:
        """Add everything from an export; returns the number of lines taken in.

        Vectors are taken over if they are of this store's model (no model is loaded then) and made anew otherwise.
        """
        from .jsonl import import_jsonl

        return import_jsonl(self, path)

    # -- records

    def _put(self, name: str, key: str, document: str, meta: dict[str, Any]) -> None:
        if self._place.read(lambda c: first_document(c.get(name), key)) != document:
            self._put_many(name, [(key, document, meta, time.time_ns())])

    def _put_many(self, name: str, rows: list[tuple[str, str, dict[str, Any], int]]) -> None:
        """Records that nobody searches by meaning; their vector only has to differ, or the index degenerates."""
        records = []
        for key, document, meta, at in rows:
            raw = hashlib.sha256(key.encode()).digest()
            vector = (np.frombuffer(raw[:2], np.uint8) / 256 + 0.001).astype(np.float32)
            records.append((key, vector, {**meta, "at": at}, document))
        with self._place.writing():
            self._upsert(name, records, texts=False)

    def _documents(
        self, name: str, order: str, where: dict[str, Any] | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        def ask(collections: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
            if name not in collections:
                return []
            got = collections[name].get(where=where, include=["documents", "metadatas"])
            rows = zip(got["ids"], got["documents"], got["metadatas"], strict=True)
            return [(d, m) for i, d, m in sorted(rows, key=lambda r: (r[2][order], r[0]))]

        return self._place.read(ask)

    def _upsert(
        self, name: str, records: list[tuple[str, NDArray[np.float32], dict[str, Any], str]], *, texts: bool
    ) -> None:
        from chromadb.utils.batch_utils import create_batches

        metadata: dict[str, Any] = {"schema": 1}
        if texts:
            metadata |= {"model": self.embedder.model_id, "dim": self.embedder.dim}
        with self._place.writing() as client:
            collection = client.get_or_create_collection(
                name, embedding_function=None, metadata=metadata, configuration={"hnsw": {"space": "ip"}}
            )
            ids, vectors, metas, documents = (list(column) for column in zip(*records, strict=True))
            for batch in create_batches(client, ids, vectors, metas, documents):
                collection.upsert(ids=batch[0], embeddings=batch[1], metadatas=batch[2], documents=batch[3])


def _registered(known: dict[str, tuple[Expert, int]], expert: Expert, given: int | None, offset: int) -> int:
    if expert.id in known:
        return known[expert.id][1] if given is None else min(given, known[expert.id][1])
    return time.time_ns() + offset if given is None else given
