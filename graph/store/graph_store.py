"""The expert graph: experts, their skills, reference prompts, calibrations, relations and past runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any

from ...errors import UserError
from ...files.atomic import write_bytes
from ...plugins import closest
from ...settings import user_path
from ..calibration.record import Calibration
from ..calibration.reference_prompts import ReferencePrompt
from ..embedding import Embedder, default_embedder
from ..experts.expert import FACETS, Expert, Facet
from ..experts.own_words import OwnRecord, OwnWords
from ..finding.index import WordIndex
from ..relations.relation import Relation, is_retired
from . import jsonl
from .chroma import Database
from .picture import Picture
from .rows import Hit, View, digest, group_hits, partition
from .runs import RunRecord
from .tables import Known, Tables


class GraphStore:
    """The graph in a folder (``path``), or on a Chroma server (``url``). Opening and listing load no model.

    ``base`` tells the key of the base in force (`bases.key`) when it is first needed: calibrations of another base are
    kept, and not handed out. Without it all are.

    Use as a context manager, or call :meth:`close`. The first write makes this process the writer until it closes;
    another process can read, and its runs are kept aside until the next writer takes them in.

    Raises:
        UserError: the graph was made with another embedding model.
        ExternalError: damaged, or the server does not answer.
    """

    def __init__(
        self,
        path: Path,
        embedder: Embedder | None = None,
        *,
        url: str | None = None,
        base: Callable[[], str] | None = None,
    ) -> None:
        self._key_of_base = base
        self.path = user_path(path)
        self.embedder = embedder or default_embedder()
        self._database = Database.open(self.path, url)
        self._tables = Tables(self._database, self.embedder)
        self._open = True
        self._picture = Picture()
        try:
            self._tables.check_model()
        except UserError:
            self.close()
            raise

    def __enter__(self) -> GraphStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the database back; a second call does nothing."""
        if self._open:
            self._open = False
            self._tables.words.close()
            self._database.close()

    @cached_property
    def base_key(self) -> str:
        """The key of the base in force; "" if none is, so that every calibration is handed out."""
        return self._key_of_base() if self._key_of_base is not None else ""

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
        given = list(experts)
        known = self._tables.known(e.id for e in given)
        since = {i: at for i, (_, at) in known.items()}
        rows = [(e, _registered(since.get(e.id), registered, i)) for i, e in enumerate(given)]
        before = self._database.stamp()
        written = self._tables.write_experts(rows)
        self._picture.wrote(before, self._database.stamp(), written)

    def own_words(self, expert_id: str) -> OwnWords:
        """What its user says of an expert; nothing, if they never did."""
        record = self._tables.own_words().get(expert_id)
        return record.words if record else OwnWords()

    def say(self, expert_id: str, words: OwnWords) -> Expert:
        """Let its user's words stand above what was found, from now on and through every rescan; empty ones take all
        back.

        Returns:
            The expert as it is with them.

        Raises:
            UserError: there is no such expert.
        """
        record = self._tables.own_words().get(expert_id)
        found = record.found if record else self.expert(expert_id)
        before = self._database.stamp()
        self._tables.put_own_words(OwnRecord(expert_id=expert_id, words=words, found=found))
        self._picture.wrote(before, self._database.stamp(), kind="own words")
        self.add_experts([found])
        return self.expert(expert_id)

    def as_found(self) -> list[Expert]:
        """All experts and bases as their sources say, without their users' own words; sorted by id."""
        own = self._tables.own_words()
        return [own[e.id].found if e.id in own else e for e, _ in self._everyone()]

    def expert(self, expert_id: str) -> Expert:
        """One expert (or base). UserError, with the closest ids, if there is none."""
        found = self._tables.expert(expert_id) if expert_id else None
        if found is not None:
            return found
        everyone = self.words.ids()
        near = closest(expert_id, everyone, at_least=0.4)
        near += [i for i in everyone if expert_id and expert_id.casefold() in i.casefold() and i not in near][:3]
        hint = f" Did you mean {', '.join(near)}?" if near else " `diffgraph experts` lists them."
        raise UserError(f"There is no expert {expert_id!r} in the graph.{hint}")

    def experts(self, family: str | None = None) -> list[Expert]:
        """All experts (of a family), sorted by id; bases are not among them."""
        return [e for e, _ in self._everyone() if e.kind != "base" and family in (None, e.base_family)]

    def some(self, ids: Iterable[str]) -> dict[str, Expert]:
        """Experts and bases by id, read alone; unknown ids are left out."""
        return {i: expert for i, (expert, _) in self._tables.known(ids).items()}

    def with_files(self, sums: Iterable[str]) -> list[Expert]:
        """Experts whose file has one of these sha256, sorted by id, read alone."""
        found = self.some(self.words.ids_of_files(sums))
        return [expert for _, expert in sorted(found.items()) if expert.kind != "base"]

    def bases(self) -> list[Expert]:
        """All base pipelines, sorted by id."""
        return [expert for _, expert in sorted(self.some(self.words.ids(kind="base")).items())]

    def base(self, family: str) -> Expert | None:
        """The base pipeline of a family, if registered."""
        found = self.some(self.words.ids(family, "base"))
        return found[min(found)] if found else None

    def families(self) -> list[str]:
        """Base families that the graph knows, sorted."""
        return self.words.families()

    def view(self, family: str) -> View:
        """Everything that choosing experts of a family needs, of the whole graph."""
        picture = self._picture.at(self._database.stamp())
        if family not in picture.views:
            everyone = self._everyone()
            here = [e for e, _ in everyone if e.base_family == family]
            foreign = tuple(e for e, _ in everyone if e.base_family != family and e.kind != "base" and e.usable)
            picture.views[family] = self._view(family, here, foreign, {e.id: at for e, at in everyone})
        return picture.views[family]

    def view_of(self, family: str, ids: Iterable[str]) -> View:
        """The same of certain experts alone, whatever family they are of, and of the family's base."""
        known = self._tables.known(ids)
        base = self.base(family)
        here = [e for e, _ in known.values() if e.base_family == family]
        foreign = tuple(e for e, _ in known.values() if e.base_family != family and e.kind != "base" and e.usable)
        return self._view(family, [*here, *([base] if base else [])], foreign, {i: at for i, (_, at) in known.items()})

    def _view(
        self, family: str, here: Sequence[Expert], foreign: tuple[Expert, ...], registered: dict[str, int]
    ) -> View:
        latest = {c.expert_id: c for c in self.calibrations()}
        hashes = {e.id: e.sha256 for e in here}
        return View(
            family=family,
            base=next((e for e in here if e.kind == "base"), None),
            experts=tuple(sorted((e for e in here if e.kind != "base" and e.usable), key=lambda e: e.id)),
            foreign=foreign,
            registered=registered,
            calibrations={i: c for i, c in latest.items() if hashes.get(i) == c.expert_sha256},
            relations=tuple(self.relations()),
            stamp=self._database.stamp(),
        )

    def _everyone(self) -> list[Known]:
        """All experts and bases with when they came, sorted by id."""
        return self._picture.at(self._database.stamp()).experts(self._tables.experts)

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

        return self._database.read(ask)

    @property
    def words(self) -> WordIndex:
        """The index of words by which experts are found."""
        return self._tables.index()

    def nearest(self, text: str, family: str, k: int) -> list[str]:
        """The ``k`` experts nearest to a text in the meaning of what is said of them. Loads the embedding model."""
        asked, name = self.embedder.embed([text]), f"experts.{partition(family)}"
        found = self._database.read(
            lambda c: c[name].query(query_embeddings=asked, n_results=k, include=[])["ids"] if name in c else [[]]
        )
        return [str(i) for i in found[0]]

    def cosines(self, text: str, family: str, ids: Sequence[str]) -> dict[str, float]:
        """Cosine of a text with what is said of certain experts. Loads the embedding model."""
        asked = self.embedder.embed([text])[0]
        rows = self._database.by_id(f"experts.{partition(family)}", ids, vectors=True)
        return {row.key: float(row.vector @ asked) for row in rows if row.vector is not None}

    # -- reference prompts, calibrations, relations, runs

    def add_reference_prompts(self, prompts: Iterable[ReferencePrompt]) -> None:
        """Add reference prompts; known ones are left alone."""
        self._tables.add_prompts(prompts)

    def reference_prompts(self) -> list[ReferencePrompt]:
        """Reference prompts in the order in which they were added."""
        return self._tables.prompts()

    def put_calibration(self, calibration: Calibration, *, latest: bool = False) -> None:
        """Add a calibration, or replace the one of the same expert, file and circumstances.

        ``latest``: it counts from now on, even if it was known and another was measured since.
        """
        key = f"{calibration.expert_id}|{calibration.expert_sha256}|{calibration.plan_context_hash}"
        document, meta = calibration.model_dump_json(), {"expert": calibration.expert_id}
        self._put("calibrations", digest(key), document, meta, again=latest)

    def calibrations(self, expert_id: str | None = None, *, any_base: bool = False) -> list[Calibration]:
        """Calibrations (of one expert) that hold for the base in force, oldest first; the last one counts.

        ``any_base``: those of other bases too.
        """
        picture = self._picture.at(self._database.stamp())
        if picture.calibrations is None:
            rows = self._tables.records("calibrations")
            picture.calibrations = tuple(Calibration.model_validate_json(row.document) for row in rows)
        found = [c for c in picture.calibrations if expert_id in (None, c.expert_id)]
        return [c for c in found if any_base or not self.base_key or c.base in ("", self.base_key)]

    def put_relation(self, relation: Relation) -> None:
        """Add an edge, or replace the one of the same kind between the same two."""
        key = f"{relation.kind}|{relation.a}|{relation.b}"
        self._put("relations", digest(key), relation.model_dump_json(), {"a": relation.a, "b": relation.b})

    def relations(self, expert_id: str | None = None) -> list[Relation]:
        """Edges (of one expert), sorted by ends and kind."""
        picture = self._picture.at(self._database.stamp())
        if picture.relations is None:
            rows = self._tables.records("relations")
            read = (Relation.model_validate_json(r.document) for r in rows if not is_retired(r.document))
            picture.relations = tuple(sorted(read, key=lambda r: (r.a, r.b, r.kind)))
        return [r for r in picture.relations if expert_id is None or expert_id in (r.a, r.b)]

    def _put(self, name: str, key: str, document: str, meta: dict[str, Any], *, again: bool = False) -> None:
        """Write a record and keep what was read in step."""
        before = self._database.stamp()
        self._tables.put(name, key, document, meta, again=again)
        self._picture.wrote(before, self._database.stamp(), kind=name)

    def record_run(self, run: RunRecord) -> None:
        """Remember a run; the same id twice changes nothing. If another process is the writer, it is kept for that
        one.
        """
        if self._database.try_lock():
            self._take_in_pending()
            self._put("runs", run.run_id, run.model_dump_json(), {})
        elif self._database.read_only:
            raise UserError(f"{self.path} is read-only, so the run is not remembered.")
        else:
            folder = self.path / "pending-runs"
            folder.mkdir(exist_ok=True)
            write_bytes(folder / f"{run.run_id}.json", run.model_dump_json().encode())

    def runs(self) -> list[RunRecord]:
        """Past runs, oldest first, those not yet taken in last."""
        kept = [RunRecord.model_validate_json(r.document) for r in self._tables.records("runs")]
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
        jsonl.export_jsonl(self._tables, path)

    def import_jsonl(self, path: Path, *, base: str = "") -> int:
        """Add everything from an export; returns the number of lines taken in.

        Calibrations that do not say on which base they were measured are ``base``'s, a key.

        Vectors are taken over if they are of this store's model (no model is loaded then) and made anew otherwise.
        """
        return jsonl.import_jsonl(self._tables, path, base)


def _registered(known: int | None, given: int | None, offset: int) -> int:
    if known is not None:
        return known if given is None else min(given, known)
    return time_ns() + offset if given is None else given
