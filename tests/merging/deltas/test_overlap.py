"""Overlap by factors equals the cosine of the dense deltas."""

from __future__ import annotations

import pytest
import torch

from diffgraph.merging.deltas.overlap import inner, overlap
from diffgraph.merging.formats import read_expert


def dense_cosine(a, b, base):
    def flat(expert):
        return torch.cat(
            [
                expert.deltas[t].dense().double().flatten()
                if t in expert.deltas
                else torch.zeros(base.params[t][2].numel, dtype=torch.float64)
                for t in sorted(base.params)
            ]
        )

    return float(torch.cosine_similarity(flat(a), flat(b), dim=0))


@pytest.mark.parametrize(("one", "two"), [("owl", "ink"), ("owl", "stars"), ("owl", "tuned"), ("tuned", "ink")])
def test_overlap_is_the_dense_cosine(world, one, two):
    a, b = (read_expert(world.paths[name], world.base) for name in (one, two))
    assert overlap(a, b) == pytest.approx(dense_cosine(a, b, world.base), abs=1e-5)
    assert overlap(a, b) == pytest.approx(overlap(b, a), abs=1e-8)


def test_a_copy_overlaps_fully_at_any_scale_and_a_mirror_image_fully_the_other_way(world):
    owl = read_expert(world.paths["owl"], world.base)
    for name, factor in (("double", 2.0), ("mirror", -0.5)):
        scaled = {k: t * factor if "lora_B" in k else t for k, t in world.tensors("owl").items()}
        other = read_expert(world.write(name, scaled), world.base)
        assert overlap(owl, other) == pytest.approx(1.0 if factor > 0 else -1.0)
    assert overlap(owl, owl) == pytest.approx(1.0)
    assert inner(owl, owl) == pytest.approx(owl.norm() ** 2, rel=1e-6)


def test_an_expert_that_does_nothing_overlaps_with_nothing(world):
    owl = read_expert(world.paths["owl"], world.base)
    silent = read_expert(world.write("silent", {k: t * 0 for k, t in world.tensors("owl").items()}), world.base)
    assert overlap(owl, silent) == 0.0
