from __future__ import annotations

import numpy as np

from diffgraph.graph.calibration.reference_prompts import ReferencePrompt, choose, farthest_points, from_base
from diffgraph.graph.embedding import MINILM_DIM, MiniLM, default_embedder, word_ranks
from diffgraph.graph.experts.expert import Expert
from diffgraph.graph.store.graph_store import GraphStore


def test_unit_vectors_in_the_order_asked() -> None:
    embedder = default_embedder()
    rows = embedder.embed(["cat", "a much longer text about a feline animal", "cat", "tax law"])
    assert rows.shape == (4, MINILM_DIM)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows[0] == rows[2]).all()
    assert rows[0] @ rows[1] > rows[0] @ rows[3]
    assert embedder.embed([]).shape == (0, MINILM_DIM)


def test_the_cache_is_bounded_and_harmless() -> None:
    small = MiniLM(batch_size=2, cache_size=2)
    texts = ["one", "two", "three", "four"]
    np.testing.assert_allclose(small.embed(texts), default_embedder().embed(texts), atol=1e-5)
    assert len(small._cache) == 2
    np.testing.assert_allclose(small.embed(["one"]), default_embedder().embed(["one"]), atol=1e-5)


def test_building_the_model_leaves_the_callers_seed_alone() -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    MiniLM().embed(["cat"])
    assert torch.rand(1) == expected


def test_common_words_rank_before_rare_ones() -> None:
    ranks = word_ranks()
    assert ranks["man"] < ranks["kitten"]
    assert "octupus" not in ranks


def test_farthest_points() -> None:
    angles = np.deg2rad([0, 2, 4, 90, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    chosen = farthest_points(vectors, 3)
    assert chosen[1] == 4
    assert len(set(chosen)) == 3
    assert sorted(farthest_points(vectors, 9)) == [0, 1, 2, 3, 4]
    assert farthest_points(vectors[:0], 3) == []


def test_reference_prompts_are_diverse(store: GraphStore) -> None:
    base = store.base("emoji")
    assert isinstance(base, Expert)
    prompts = from_base(base, 12, store.embedder)
    assert prompts == from_base(base, 12, store.embedder)
    assert len({p.id for p in prompts}) == 12
    vectors = store.embedder.embed([p.text for p in prompts])
    plain = store.embedder.embed([s.trigger for s in base.skills[:12]])

    def closest(rows: np.ndarray) -> float:
        return float((rows @ rows.T - 2 * np.eye(len(rows))).max())

    assert closest(vectors) < closest(plain)
    twice = choose([ReferencePrompt.of("cat"), ReferencePrompt.of("cat")], 5, store.embedder)
    assert [p.text for p in twice] == ["cat"]
