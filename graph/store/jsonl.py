"""The graph as JSON lines: lossless both ways, so a graph can be shipped, diffed and rebuilt."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from ...errors import UserError
from ...files.atomic import new_file
from ..calibration.record import Calibration
from ..calibration.reference_prompts import ReferencePrompt
from ..embedding import Embedder
from ..experts.expert import Expert
from ..experts.own_words import OwnRecord
from ..relations.relation import Relation, is_retired
from .pages import Row
from .runs import RunRecord
from .tables import OWN, Known, Tables, Vectors, texts_of

FORMAT = "diffgraph-graph"
VERSION = 1
_RECORDS: dict[str, type[BaseModel]] = {
    OWN: OwnRecord,
    "calibrations": Calibration,
    "relations": Relation,
    "runs": RunRecord,
}


def export_jsonl(tables: Tables, path: Path) -> None:
    """Write the graph to ``path``, whole or not at all. First a header line, then one node, edge or run a line,
    sorted.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The graph cannot be written to {path}: {error.strerror}.") from error
    with new_file(path) as file:
        for line in _lines(tables):
            text = json.dumps(line, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            file.write(f"{text}\n".encode())


def _lines(tables: Tables) -> Iterator[dict[str, Any]]:
    embedder = tables.embedder
    yield {"type": FORMAT, "version": VERSION, "model": embedder.model_id, "dim": embedder.dim}
    vectors = tables.vectors()
    for expert, registered in tables.experts():
        yield {
            "type": "expert",
            "registered": registered,
            "data": expert.model_dump(mode="json"),
            "vectors": {text: _pack(vectors[text]) for text in texts_of(expert)},
        }
    for prompt in tables.prompts():
        yield {"type": "prompt", "data": prompt.model_dump(mode="json"), "vector": _pack(vectors[prompt.text])}
    for name in _RECORDS:
        for row in tables.records(name):
            yield {"type": name, "key": row.key, "meta": row.meta, "data": json.loads(row.document)}


@dataclass
class _Content:
    """What an export holds."""

    experts: list[Known] = field(default_factory=list)
    prompts: list[ReferencePrompt] = field(default_factory=list)
    records: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in _RECORDS})
    vectors: Vectors = field(default_factory=dict)
    lines: int = 0


def import_jsonl(tables: Tables, path: Path, base: str = "") -> int:
    """Add every line of an export; see :meth:`GraphStore.import_jsonl`."""
    found = _read(Path(path), tables.embedder)
    found.records["calibrations"] = [_measured_on(base, row) for row in found.records["calibrations"]]
    known = {e.id: at for e, at in tables.experts()}
    tables.put_many(OWN, found.records.pop(OWN))
    own = tables.own_words()  # the lines of experts have them already; what is written has them put on anew
    experts = [(own[e.id].found if e.id in own else e, min(at, known.get(e.id, at))) for e, at in found.experts]
    tables.write_experts(experts, found.vectors)
    tables.add_prompts(found.prompts, found.vectors)
    for name, rows in found.records.items():
        tables.put_many(name, rows)
    return found.lines


def _measured_on(base: str, row: Row) -> Row:
    """A calibration's row that says on which base it was measured."""
    found = Calibration.model_validate_json(row.document)
    return row if found.base else replace(row, document=found.model_copy(update={"base": base}).model_dump_json())


def _read(path: Path, embedder: Embedder) -> _Content:
    content = _Content()
    try:
        with path.open(encoding="utf-8") as handle:
            header = json.loads(handle.readline() or "null")
            if not isinstance(header, dict) or header.get("type") != FORMAT or header.get("version") != VERSION:
                raise UserError(f"{path} is not an export of a graph that this version reads.")
            same = (header.get("model"), header.get("dim")) == (embedder.model_id, embedder.dim)
            for line in handle:
                _take_line(content, json.loads(line), embedder.dim if same else None)
                content.lines += 1
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{path} is damaged at line {content.lines + 2}: {str(error).splitlines()[0][:160]}") from error
    return content


def _take_line(content: _Content, entry: dict[str, Any], dim: int | None) -> None:
    """Add one line; its vectors are taken over if they have ``dim`` numbers, and left out if that is None."""
    kind, data = entry["type"], entry["data"]
    if kind == "expert":
        content.experts.append((Expert.model_validate(data), int(entry["registered"])))
        if dim is not None:
            content.vectors |= {text: _unpack(packed, dim) for text, packed in entry["vectors"].items()}
    elif kind == "prompt":
        prompt = ReferencePrompt.model_validate(data)
        content.prompts.append(prompt)
        if dim is not None:
            content.vectors[prompt.text] = _unpack(entry["vector"], dim)
    else:
        meta = dict(entry["meta"])
        content.records[kind].append(Row(entry["key"], _document(kind, data), {**meta, "at": int(meta["at"])}))


def _document(kind: str, data: object) -> str:
    """A record as it is stored; relations of a retired kind are kept as they are."""
    if kind == "relations" and is_retired(json.dumps(data)):
        return json.dumps(data, ensure_ascii=False)
    return _RECORDS[kind].model_validate(data).model_dump_json()


def _pack(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")


def _unpack(text: str, dim: int) -> NDArray[np.float32]:
    vector = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise ValueError(f"a vector of shape {vector.shape} where ({dim},) was expected")
    return vector
