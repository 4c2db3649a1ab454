"""Methods in the span of the factors, by hand and against full-size float64 transcriptions of their papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgraph.evals.bench import full_size
from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.methods.span import Span, orthogonalized

A = np.array([[3, -1, 0, 2], [0, 1, 4, -2], [1, 0, -1, 1], [2, 2, 0, 0.5]])
B = np.array([[1, 1, -2, 0], [3, 0, 1, 1], [-1, 2, 2, 0], [0, -1, 1, 3.0]])


def _of_arrays(full_size):
    """A full-size method on numpy arrays."""

    def run(deltas, *args):
        return full_size([torch.from_numpy(np.asarray(delta, np.float64)) for delta in deltas], *args).numpy()

    return run


tsv_m, iso_c, iso_cts, knots = (_of_arrays(getattr(full_size, n)) for n in ("tsv_m", "iso_c", "iso_cts", "knots"))
ties = full_size.ties


def core_space(deltas, inner):
    return _of_arrays(full_size.core_space)(deltas, inner)


def near(ours, expected, tolerance=1e-5):
    """Within ``tolerance`` of the expected matrix, in the Frobenius norm."""
    assert np.linalg.norm(ours.double().numpy() - expected) <= tolerance * np.linalg.norm(expected)


TWO = [A, 0.5 * B]  # what the papers' equations see of experts A and B at weights 1 and 0.5


def test_tsv_m_by_its_equations(merged):
    near(merged("tsv_m", [A, B], (1, 0.5)), tsv_m(TWO, 2))
    near(merged("tsv_m", [A, B], (1, 0.5), keep=1, scale=3.0), 3 * tsv_m(TWO, 1))


def test_tsv_m_by_hand(merged):
    """Directions that are apart are summed as they are; of two that overlap each is turned away from the other."""
    x, y, z, w = np.eye(4)
    apart = [np.outer(x, y), 3 * np.outer(z, w)]
    near(merged("tsv_m", apart), apart[0] + apart[1])
    slanted = 0.6 * x + 0.8 * y
    # U = [x slanted], V = [z w]: the nearest orthonormal pair to x and slanted is turned by half of what lacks to 90°.
    lack = (np.pi / 2 - np.arccos(0.6)) / 2
    turned_x, turned = np.cos(lack) * x - np.sin(lack) * y, np.sin(lack) * x + np.cos(lack) * y
    expected = np.outer(turned_x, z) + 2 * np.outer(turned, w)
    near(merged("tsv_m", [np.outer(x, z), 2 * np.outer(slanted, w)], keep=1), expected)
    near(merged("tsv_m", [np.outer(x, y)] * 3, (1, 2, 3)), 2 * np.outer(x, y))


def test_iso_c_by_hand(merged):
    near(merged("iso_c", [np.diag([4.0, 0, 0, 0]), np.diag([0, 2.0, 0, 0])]), np.diag([3.0, 3, 0, 0]))
    near(
        merged("iso_c", [np.diag([4.0, 3, 0, 0]), np.diag([0, 0, 2.0, -1])], scale=2),
        2 * np.diag([2.5, 2.5, 2.5, -2.5]),
    )
    near(merged("iso_c", [A, B], (1, 0.5)), iso_c(TWO))


def test_iso_cts_by_its_equations(merged):
    near(merged("iso_cts", [A, B], (1, 0.5), common=0.5), iso_cts(TWO, 1))
    near(merged("iso_cts", [A, B], (1, 0.5), common=1.0, scale=2.0), 2 * iso_c(TWO))


def test_iso_cts_by_hand(merged):
    """The sum is diag(5, 4, 3, 1): at common = 1/2 its first two are kept, and one direction of each expert's rest."""
    one, other = np.diag([5.0, 0, 3, 0]), np.diag([0, 4.0, 0, 1])
    near(merged("iso_cts", [one, other], common=0.5), np.eye(4) * (5 + 4 + 3 + 1) / 4)


@pytest.mark.parametrize("fold", [True, False])
def test_knots_by_its_equations(merged, fold):
    near(merged("knots", [A, B], (1, 0.5), density=0.4, fold=fold), knots(TWO, 0.4, fold))
    near(merged("knots", [A, B], (1, 0.5), inner="linear", fold=fold, scale=2.0), 2 * sum(TWO))


def test_core_space_by_its_equations(merged):
    near(merged("core_space", [A, B], (1, 0.5), density=0.4), core_space(TWO, lambda m: ties(m, 0.4)))
    near(merged("core_space", [A, B], (1, 0.5), inner="linear", scale=2.0), 2 * sum(TWO))
    near(merged("core_space", [A, B], (1, 0.5), inner="iso_c"), iso_c(TWO))
    near(merged("core_space", [A, B], (1, 0.5), inner="tsv_m"), tsv_m(TWO, 2))


FULL_SIZE = [
    ("tsv_m", {"keep": 16}, lambda d: tsv_m(d, 16)),
    ("iso_c", {}, iso_c),
    ("iso_cts", {"common": 0.5}, lambda d: iso_cts(d, 8)),
    ("knots", {}, lambda d: knots(d, 0.5)),
    ("core_space", {}, lambda d: core_space(d, lambda m: ties(m, 0.5))),
    ("core_space", {"inner": "tsv_m"}, lambda d: core_space(d, lambda m: full_size.tsv_m(m, 16))),
]


@pytest.mark.parametrize(("name", "params", "full_size"), FULL_SIZE)
def test_in_span_agrees_with_the_full_size_svd(method, parts, low, name, params, full_size):
    """To 1e-5, though 64 singular values lie close together and TIES is a matter of single values."""
    loras = [low(seed, 96, 128, 16) for seed in range(4)]
    out = method(name, **params).merge(parts(loras))
    assert out.rank == 64
    near(out.dense(), full_size([lora.up.double().numpy() @ lora.down.double().numpy() for lora in loras]), 1e-5)


def test_a_span_is_exact_and_small(low):
    groups = [[low(10 * g + k, 12, 9, rank) for k, rank in enumerate((2, 3))] for g in range(3)]
    span = Span.of(groups)
    assert span.cores.shape == (3, 2, 5, 5)
    for index, deltas in enumerate(groups):
        for core, delta in zip(span.cores[index], deltas, strict=True):
            rebuilt = span.left[index] @ core @ span.right[index].T
            torch.testing.assert_close(rebuilt, delta.dense(), rtol=1e-4, atol=1e-5)
    full = Span.of([[groups[0][0], Delta.of(torch.ones(12, 9))]])
    assert full.left is None
    assert torch.equal(full.cores[0, 1], torch.ones(12, 9))


def test_orthogonalized_is_nearest_and_leaves_out_what_repeats():
    columns = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    q = orthogonalized(columns)
    torch.testing.assert_close(q.mT @ q, torch.eye(4).expand(2, 4, 4), rtol=0, atol=1e-5)
    stretch = q.mT @ columns  # polar decomposition: what is left is symmetric and positive
    torch.testing.assert_close(stretch, stretch.mT, rtol=0, atol=1e-5)
    assert (torch.linalg.eigvalsh(stretch) > 0).all()
    same = torch.eye(3)[:, :1].repeat(1, 4)
    torch.testing.assert_close(orthogonalized(same), same / 2, rtol=0, atol=1e-6)
