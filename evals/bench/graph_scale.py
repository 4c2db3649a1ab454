"""How the graph of experts bears its size: ``python -m diffgraph.evals.bench.graph_scale --experts 100000``.

Records are generated, and texts get vectors drawn from their hash instead of the embedding model's, which takes some
10 ms a text whatever the graph's size. What is timed is the graph's own work: Chroma, the index of words, choosing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ...graph.experts.expert import Expert, Facet, Skill, SourceRef
from ...graph.selection.solver import activate
from ...graph.store.graph_store import GraphStore

FAMILY = "sdxl"
_DIM = 64
_BATCH = 2000
_SYLLABLES = [
    "ka",
    "ri",
    "no",
    "mel",
    "tor",
    "vex",
    "lun",
    "sha",
    "pyr",
    "ost",
    "den",
    "wil",
    "gra",
    "fen",
    "zu",
    "mir",
    "tal",
    "bor",
    "eth",
    "quin",
]
_COMMON = [
    "anime",
    "style",
    "girl",
    "realistic",
    "fantasy",
    "character",
    "woman",
    "dress",
    "hair",
    "light",
    "city",
    "dark",
    "retro",
    "game",
    "robot",
    "cat",
]
_FACETS: tuple[Facet, ...] = ("subject", "character", "style", "clothing", "concept")


class Drawn:
    """Unit vectors drawn from a text's hash: as different as those of different texts, and free."""

    model_id = "drawn-from-hash"
    dim = _DIM

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(len(texts), 64)`` float32, each row of length 1."""
        seeds = (int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "big") for t in texts)
        rows = [np.random.default_rng(seed).standard_normal(_DIM) for seed in seeds]
        made = np.stack(rows) if rows else np.zeros((0, _DIM))
        unit: NDArray[np.float32] = (made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)).astype("f4")
        return unit


class Scale(BaseModel):
    """What was measured; times in seconds."""

    model_config = ConfigDict(frozen=True)
    experts: int
    added_a_second: float
    one_more: float
    plan_after_one_more: float
    plan: float
    plan_in_a_fresh_process: float
    one_by_id: float
    all_read: float
    index_bytes: int


def generated(n: int, seed: int = 0) -> Iterator[Expert]:
    """``n`` experts with made-up names, triggers, tags and descriptions."""
    draw = random.Random(seed)
    for i in range(n):
        name = "".join(draw.choices(_SYLLABLES, k=3)) + str(i % 97)
        tags = tuple(dict.fromkeys(draw.choices(_COMMON, k=4)))
        facet = draw.choice(_FACETS)
        yield Expert(
            id=f"folder/{name}-{i}",
            title=f"{name.title()} {tags[0]}",
            ref=SourceRef(source="folder", repo=f"r{i}", revision="1", file=f"{name}.safetensors"),
            sha256=hashlib.sha256(str(i).encode()).hexdigest(),
            base_family=FAMILY,
            kind="lora",
            rank=16,
            size_bytes=1,
            tags=tags,
            triggers=((name,),),
            skills=(Skill(facet=facet, name=name, trigger=name),),
            description=" ".join(draw.choices([*_COMMON, *_SYLLABLES], k=30)),
            text=f"{name} {' '.join(tags)}",
        )


def timed(ask: Callable[[], object], repeats: int = 5) -> float:
    """The median of a few runs, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return round(sorted(times)[len(times) // 2], 4)


def measure(folder: Path, n: int, say: Callable[[str], None] = print) -> Scale:
    """Fill a graph and time what a user waits for. ``folder`` is left full."""
    everyone = list(generated(n + 1))
    began = time.perf_counter()
    with GraphStore(folder, Drawn()) as store:
        for at in range(0, n, _BATCH):
            store.add_experts(everyone[at : min(at + _BATCH, n)], registered=at)
            if at % (10 * _BATCH) == 0:
                say(f"{at} of {n} experts, {time.perf_counter() - began:.0f} s")
    added = n / (time.perf_counter() - began)
    asked = everyone[n // 2].triggers[0][0]
    prompt = f"masterpiece, best quality, 1girl, a portrait of {asked}, retro city at night, soft light, rain"
    with GraphStore(folder, Drawn()) as store:
        fresh = timed(lambda: _planned(prompt, store, asked), 1)
        plan = timed(lambda: _planned(prompt, store, asked))
        one = timed(lambda: store.add_expert(everyone[n]), 1)
        after = timed(lambda: _planned(prompt, store, asked), 1)
        by_id = timed(lambda: store.expert(everyone[n // 3].id))
        all_read = timed(store.experts, 1)
    size = sum(path.stat().st_size for path in folder.glob("words.sqlite3*"))
    return Scale(
        experts=n, added_a_second=round(added, 1), one_more=one, plan_after_one_more=after, plan=plan,
        plan_in_a_fresh_process=fresh, one_by_id=by_id, all_read=all_read, index_bytes=size,
    )  # fmt: skip


def _planned(prompt: str, store: GraphStore, asked: str) -> None:
    found = activate(prompt, store, FAMILY, vocabulary="open")
    if not any(asked in e.triggers for e in found.experts):
        raise AssertionError(f"{asked} was not chosen")


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experts", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffgraph-") as folder:
        print(json.dumps(measure(Path(folder), args.experts).model_dump(), indent=1))


if __name__ == "__main__":
    main()
