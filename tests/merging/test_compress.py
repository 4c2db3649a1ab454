"""One LoRA from a merged delta: as near as its rank allows, and honest about the rest."""

from __future__ import annotations

import pytest
import torch

from diffgraph.merging.compress import compress, compress_all
from diffgraph.merging.delta import Delta, add


def low(seed, rows=12, columns=9, rank=4, shape=None):
    g = torch.Generator().manual_seed(seed)
    return Delta(
        shape or (rows, columns), torch.randn(rows, rank, generator=g), torch.randn(rank, columns, generator=g)
    )


def test_the_truncation_is_that_of_the_dense_svd():
    merged = add([low(1), low(2)], [1.0, -0.5])
    u, s, vh = torch.linalg.svd(merged.dense().double(), full_matrices=False)
    for kept in (merged, Delta.of(merged.dense()), add([merged, Delta.of(torch.zeros(12, 9))], [1, 1])):
        small = compress(kept, 3)
        assert small.delta.rank == 3
        best = (u[:, :3] * s[:3]) @ vh[:3]
        torch.testing.assert_close(small.delta.dense().double(), best, rtol=1e-4, atol=1e-4)
        assert small.energy == pytest.approx(merged.norm() ** 2, rel=1e-5)
        assert small.lost == pytest.approx(float(s[3:].square().sum()), rel=1e-4)
        missing = Delta.of(kept.dense() - small.delta.dense()).norm()
        assert missing**2 == pytest.approx(small.lost, rel=1e-3)
        torch.testing.assert_close(small.delta.up.norm(dim=0), small.delta.down.norm(dim=1), rtol=1e-4, atol=1e-4)


def test_enough_rank_loses_nothing_and_wastes_none():
    merged = add([low(1), low(1)], [1.0, 2.0])  # eight factors, rank 4
    small = compress(merged, 32)
    assert small.delta.rank == 4
    assert small.lost <= 1e-10 * small.energy
    torch.testing.assert_close(small.delta.dense(), merged.dense(), rtol=1e-4, atol=1e-4)


def test_convolutions_biases_and_nothing_at_all():
    conv = compress(low(3, 4, 27, 3, (4, 3, 3, 3)), 2)
    assert conv.delta.shape == (4, 3, 3, 3)
    assert conv.delta.rank == 2
    bias = Delta.of(torch.tensor([1.0, 2, 2]))
    assert compress(bias, 1).delta is bias
    zero = compress(Delta.of(torch.zeros(3, 3)), 2)
    assert (zero.delta.rank, zero.energy, zero.lost) == (1, 0.0, 0.0)
    with pytest.raises(ValueError, match="at least 1"):
        compress(bias, 0)


def test_the_report_adds_up_by_hand():
    deltas = {
        "one": Delta.of(torch.diag(torch.tensor([3.0, 2.0, 1.0]))),
        "two": Delta.of(torch.diag(torch.tensor([4.0, 4.0, 0.0]))),
        "bias": Delta.of(torch.tensor([6.0])),
    }
    small, report = compress_all(deltas, 1)
    assert {target: delta.rank for target, delta in small.items()} == {"one": 1, "two": 1, "bias": None}
    assert (report.rank, report.targets, report.worst) == (1, 2, "two")
    assert report.worst_lost == pytest.approx(0.5)
    assert report.energy_lost == pytest.approx((4 + 1 + 16) / (14 + 32 + 36))
    nothing = compress_all({}, 4)[1]
    assert (nothing.targets, nothing.energy_lost, nothing.worst, nothing.worst_lost) == (0, 0.0, "", 0.0)
