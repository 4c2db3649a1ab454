"""The graph as JSON lines: lossless both ways, so a graph can be shipped, diffed and rebuilt."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ...errors import UserError
from ...files.atomic import new_file
from ..experts.expert import Expert

if TYPE_CHECKING:
    from .graph_store import GraphStore

FORMAT = "diffgraph-graph"
VERSION = 1
_RECORDS = ("calibrations", "relations", "runs")


def export_jsonl(store: GraphStore, path: Path) -> None:
    """Write the graph to ``path``, whole or not at all. First a header line, then one node, edge or run a line,
    sorted.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The graph cannot be written to {path}: {error.strerror}.") from error
    with new_file(path) as file:
        for line in _lines(store):
            text = json.dumps(line, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            file.write(f"{text}\n".encode())


def _lines(store: GraphStore) -> Iterator[dict[str, Any]]:
    from .rows import skill_names

    embedder = store.embedder
    yield {"type": FORMAT, "version": VERSION, "model": embedder.model_id, "dim": embedder.dim}
    vectors = _stored_vectors(store)
    for expert, registered in store._all_experts():
        names = [expert.text or expert.title, *(n for s in expert.skills for n in skill_names(s))]
        yield {
            "type": "expert",
            "registered": registered,
            "data": expert.model_dump(mode="json"),
            "vectors": {n: _pack(vectors[n]) for n in dict.fromkeys(names)},
        }
    for prompt in store.reference_prompts():
        yield {"type": "prompt", "data": prompt.model_dump(mode="json"), "vector": _pack(vectors[prompt.text])}
    for name in _RECORDS:
        for key, document, meta in _records(store, name):
            yield {"type": name, "key": key, "meta": meta, "data": json.loads(document)}


def _records(store: GraphStore, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    def ask(collections: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
        if name not in collections:
            return []
        got = collections[name].get(include=["documents", "metadatas"])
        rows = list(zip(got["ids"], got["documents"], got["metadatas"], strict=True))
        return sorted(rows, key=lambda r: (r[2]["at"], r[0]))

    return store._place.read(ask)


def _stored_vectors(store: GraphStore) -> dict[str, NDArray[np.float32]]:
    """Text -> vector, as Chroma holds it."""
    from ..calibration.reference_prompts import ReferencePrompt
    from ..experts.expert import Skill
    from .rows import skill_names

    def ask(collections: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = {}
        for name, collection in collections.items():
            kind = name.split(".")[0]
            if kind in ("experts", "skills", "prompts"):
                got = collection.get(include=["documents", "embeddings"])
                for key, document, vector in zip(got["ids"], got["documents"], got["embeddings"], strict=True):
                    if kind == "experts":
                        expert = Expert.model_validate_json(document)
                        text = expert.text or expert.title
                    elif kind == "prompts":
                        text = ReferencePrompt.model_validate_json(document).text
                    else:
                        text = skill_names(Skill.model_validate_json(document))[int(key.rsplit("|", 1)[1])]
                    found.setdefault(text, np.asarray(vector, np.float32))
        return found

    return store._place.read(ask)


def import_jsonl(store: GraphStore, path: Path) -> int:
    """Add every line of an export to ``store``; see :meth:`GraphStore.import_jsonl`."""
    count = 0
    experts: list[tuple[Expert, int]] = []
    vectors: dict[str, NDArray[np.float32]] = {}
    prompts: list[tuple[Any, NDArray[np.float32] | None]] = []
    records: dict[str, list[tuple[str, str, dict[str, Any], int]]] = {name: [] for name in _RECORDS}
    models = _models()
    try:
        with Path(path).open(encoding="utf-8") as handle:
            header = json.loads(handle.readline() or "null")
            if not isinstance(header, dict) or header.get("type") != FORMAT or header.get("version") != VERSION:
                raise UserError(f"{path} is not an export of a graph that this version reads.")
            same = (header.get("model"), header.get("dim")) == (store.embedder.model_id, store.embedder.dim)
            for line in handle:
                entry = json.loads(line)
                kind, data = entry["type"], models[entry["type"]].model_validate(entry["data"])
                if kind == "expert":
                    experts.append((data, int(entry["registered"])))
                    vectors |= {t: _unpack(v, store.embedder.dim) for t, v in entry["vectors"].items()} if same else {}
                elif kind == "prompt":
                    prompts.append((data, _unpack(entry["vector"], store.embedder.dim) if same else None))
                else:
                    meta = dict(entry["meta"])
                    records[kind].append((entry["key"], data.model_dump_json(), meta, int(meta["at"])))
                count += 1
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{path} is damaged at line {count + 2}: {str(error).splitlines()[0][:160]}") from error
    _take_in(store, experts, vectors, prompts, records)
    return count


def _take_in(
    store: GraphStore,
    experts: list[tuple[Expert, int]],
    vectors: dict[str, NDArray[np.float32]],
    prompts: list[tuple[Any, NDArray[np.float32] | None]],
    records: dict[str, list[tuple[str, str, dict[str, Any], int]]],
) -> None:
    known = {e.id: (e, at) for e, at in store._all_experts()}
    rows = [(e, min(at, known[e.id][1]) if e.id in known else at) for e, at in experts]
    rows = [(e, at) for e, at in rows if known.get(e.id) != (e, at)]
    if rows:
        store._write_experts(rows, vectors, [known[e.id][0] for e, _ in rows if e.id in known])
    here = {p.id for p in store.reference_prompts()}
    fresh = [(p, v) for p, v in prompts if p.id not in here]
    if fresh:
        missing = [p.text for p, v in fresh if v is None]
        made = dict(zip(missing, store.embedder.embed(missing), strict=True)) if missing else {}
        batch = [
            (p.id, v if v is not None else made[p.text], {"order": len(here) + i}, p.model_dump_json())
            for i, (p, v) in enumerate(fresh)
        ]
        with store._place.writing():
            store._upsert("prompts", batch, texts=True)
    for name, found in records.items():
        if found:
            store._put_many(name, found)


def _models() -> dict[str, Any]:
    from ..calibration.record import Calibration
    from ..calibration.reference_prompts import ReferencePrompt
    from ..relations.relation import Relation
    from .runs import RunRecord

    return {
        "expert": Expert,
        "prompt": ReferencePrompt,
        "calibrations": Calibration,
        "relations": Relation,
        "runs": RunRecord,
    }


def _pack(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")


def _unpack(text: str, dim: int) -> NDArray[np.float32]:
    vector = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise ValueError(f"a vector of shape {vector.shape} where ({dim},) was expected")
    return vector
