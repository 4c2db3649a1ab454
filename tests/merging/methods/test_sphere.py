"""SLERP, NuSLERP, Karcher mean and Model Stock, against numbers by hand and float64 transcriptions in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffgraph.merging.deltas.delta import Delta, add

A = np.array([[3, -1, 0, 2], [0, 1, 4, -2], [1, 0, -1, 1], [2, 2, 0, 0.5]])
B = np.array([[1, 1, -2, 0], [3, 0, 1, 1], [-1, 2, 2, 0], [0, -1, 1, 3.0]])
C = np.array([[0, 2, 1, 1], [1, -1, 2, 0], [3, 1, 0, -1], [1, 0, 2, 1.0]])


def slerp(a, b, t):
    """Shoemake 1985: (sin((1 - t) theta) a + sin(t theta) b) / sin(theta), theta the angle between a and b."""
    theta = np.arccos((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    return (np.sin((1 - t) * theta) * a + np.sin(t * theta) * b) / np.sin(theta)


def close(ours, expected, **how):
    torch.testing.assert_close(ours.double(), torch.as_tensor(expected, dtype=torch.float64), **how)


def test_slerp_halfway_between_orthogonal_experts(merged):
    one, other = np.zeros((4, 4)), np.zeros((4, 4))
    one[0, 0], other[1, 1] = 2, 4
    close(merged("slerp", [one, other], (0.5, 0.5)), math.sin(math.pi / 4) * (one + other), rtol=1e-6, atol=0)
    close(merged("slerp", [one, other], (1, 1)), 2 * math.sin(math.pi / 4) * (one + other), rtol=1e-6, atol=0)
    third = merged("slerp", [one, other], (2, 1), normalize=True)  # t = 1/3: 60 and 30 degrees
    close(third, math.sin(math.pi / 3) * one + 0.5 * other, rtol=1e-6, atol=0)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_slerp_is_shoemakes_formula(merged, t):
    close(merged("slerp", [A, B], (1 - t, t)), slerp(A, B, t), rtol=1e-5, atol=1e-6)
    close(merged("slerp", [A, B], (1 - t, -t)), slerp(A, -B, t), rtol=1e-5, atol=1e-6)
    close(merged("slerp", [A, B], (2 - 2 * t, 2 * t)), 2 * slerp(A, B, t), rtol=1e-5, atol=1e-6)
    rows = np.stack([slerp(a, b, t) for a, b in zip(A, B, strict=True)])
    close(merged("nuslerp", [A, B], (1 - t, t)), rows, rtol=1e-5, atol=1e-6)
    columns = np.stack([slerp(a, b, t) for a, b in zip(A.T, B.T, strict=True)], axis=1)
    close(merged("nuslerp", [A, B], (1 - t, t), by="column"), columns, rtol=1e-5, atol=1e-6)
    close(merged("nuslerp", [A, B], (1 - t, t), by="tensor"), slerp(A, B, t), rtol=1e-5, atol=1e-6)


def test_slerp_without_a_great_circle_is_linear(merged):
    close(merged("slerp", [A, -A], (0.75, 0.25)), 0.5 * A, rtol=1e-6, atol=1e-6)
    close(merged("slerp", [A, 3 * A], (0.5, 0.5)), 2 * A, rtol=1e-6, atol=1e-6)
    close(merged("slerp", [A, 0 * A], (0.5, 0.5)), 0.5 * A, rtol=1e-6, atol=1e-6)
    thirds = [np.array([[math.cos(k * 2 * math.pi / 3), math.sin(k * 2 * math.pi / 3)]]) for k in range(3)]
    close(merged("slerp", thirds, (1, 1, 1)), np.zeros((1, 2)), rtol=0, atol=1e-6)


def test_low_rank_stays_low_rank(method, parts, low):
    deltas = [low(seed, 6, 7, 2) for seed in range(3)]
    dense = [Delta.of(delta.dense()) for delta in deltas]
    mixed = [add([deltas[0], dense[1]], [1, 1]), deltas[1], dense[2]]
    for name, params in (
        ("slerp", {}),
        ("karcher", {}),
        ("model_stock", {}),
        ("nuslerp", {"by": "row"}),
        ("nuslerp", {"by": "column"}),
    ):
        m = method(name, **params)
        assert m.merge(parts(deltas)).rank == 6
        torch.testing.assert_close(m.merge(parts(deltas)).dense(), m.merge(parts(dense)).dense(), rtol=1e-4, atol=1e-5)
        as_dense = [Delta.of(delta.dense()) for delta in mixed]
        expected = m.merge(parts(as_dense)).dense()
        torch.testing.assert_close(m.merge(parts(mixed)).dense(), expected, rtol=1e-4, atol=1e-5)


def karcher(points, shares):
    """Minimise sum s_i arccos(<u, u_i>)² by Riemannian gradient descent, in full coordinates."""
    units = [(p / np.linalg.norm(p)).ravel() for p in points]
    u = sum(s * v for s, v in zip(shares, units, strict=True))
    u /= np.linalg.norm(u)
    for _ in range(400):
        gradient = np.zeros_like(u)
        for s, v in zip(shares, units, strict=True):
            theta = np.arccos(np.clip(u @ v, -1, 1))
            gradient += s * theta / np.sin(theta) * (v - (u @ v) * u)
        size = np.linalg.norm(0.5 * gradient)
        u = np.cos(size) * u + np.sin(size) * gradient / np.linalg.norm(gradient) if size > 1e-15 else u
    return sum(s * np.linalg.norm(p) for s, p in zip(shares, points, strict=True)) * u.reshape(4, 4)


def test_karcher_is_the_riemannian_mean(merged):
    shares = (0.5, 0.3, 0.2)
    expected = karcher([A, B, C], shares)
    close(merged("karcher", [A, B, C], shares), expected, rtol=1e-4, atol=1e-5)
    close(merged("karcher", [A, B, C], (5, 3, 2), normalize=True), expected, rtol=1e-4, atol=1e-5)
    close(merged("karcher", [A, -B, C], (0.5, -0.3, 0.2)), expected, rtol=1e-4, atol=1e-5)
    # slerp takes the same coefficients to the experts as they are, and for equal norms the two are one
    even = [x / np.linalg.norm(x) for x in (A, B, C)]
    close(merged("slerp", even, shares), karcher(even, shares), rtol=1e-4, atol=1e-5)


def test_karcher_of_orthogonal_experts_by_hand(merged):
    one, two, three = np.zeros((3, 4, 4))
    one[0, 0], two[1, 1], three[2, 2] = 1, 2, 6
    expected = np.diag([1, 1, 1, 0]) * 3 / math.sqrt(3)  # mean norm 3, along (1, 1, 1)
    close(merged("karcher", [one, two, three], (1, 1, 1), normalize=True), expected, rtol=1e-6, atol=1e-9)
    close(merged("karcher", [one, two, three], (1, 1, 1)), 3 * expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("count", "ratio"), [(2, 2 * 0.5 / 1.5), (3, 3 * 0.5 / 2)])
def test_model_stock_by_hand(merged, count, ratio):
    """Jang et al. 2024, eq. 6: experts at cosine 1/2 to each other, t = N cos / (1 + (N - 1) cos)."""
    experts = []
    for k in range(count):
        experts.append(np.diag([1.0, 0, 0, 0]))
        experts[-1][k + 1, k + 1] = 1
    close(merged("model_stock", experts), ratio / count * sum(experts), rtol=1e-6, atol=0)


def test_model_stock_verdicts(merged):
    close(merged("model_stock", [A, A, A]), A, rtol=1e-6, atol=1e-6)
    close(merged("model_stock", [A, A], (1, 3)), 2 * A, rtol=1e-6, atol=1e-6)
    close(merged("model_stock", [A, -A], (1, -1)), A, rtol=1e-6, atol=1e-6)
    assert merged("model_stock", [A, -B * np.sign((A * B).sum())]).norm() == 0.0
    close(merged("model_stock", [A, A, 0 * A]), A, rtol=1e-6, atol=1e-6)
