"""Methods that work value by value, against numbers worked out by hand from their equations."""

from __future__ import annotations

import pytest
import torch

from diffgraph.errors import PlanError
from diffgraph.merging.methods.della import drop_chances
from diffgraph.merging.methods.method import seed_of

A = [[8, -7, 6, -5], [4, -3, 2, -1], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
B = [[2, 3, 0.1, 0.1], [-9, -1, 0.1, 0.1], [5, -6, 0.1, 0.1], [7, 0.1, -4, 0.1]]
# The upper 8 of 16: A's first two rows; of B 2 3 / -9 -1 / 5 -6 / 7 -4.


def test_magnitude_prune_sums_what_is_left(merged):
    expected = [[8 + 6, -7 + 9, 6, -5], [4 - 27, -3 - 3, 2, -1], [15, -18, 0, 0], [21, 0, -12, 0]]
    assert merged("magnitude_prune", [A, B], (1, 3)).tolist() == expected
    assert merged("magnitude_prune", [A, B], (1, 3), scale=2.0).tolist() == [[2 * v for v in r] for r in expected]


def test_with_a_consensus_pruning_is_ties(merged):
    for vote in ("total", "frequency", "weighted"):
        for divide in ("count", "weights", "none"):
            ours = merged("magnitude_prune", [A, B], (1, 3), consensus=vote, divide=divide)
            assert torch.equal(ours, merged("ties", [A, B], (1, 3), vote=vote, divide=divide))


def test_breadcrumbs_mask_both_tails(merged):
    """Davari and Belilovsky 2023, eq. 3: of 16 values the 4 smallest and the 2 largest go; alpha is 0.5."""
    one = [[1, -2, 3, -4], [5, -6, 7, -8], [9, -10, 11, -12], [13, -14, 15, -16]]
    other = [
        [0] * 4,
        [0] * 4,
        [0] * 4,
        [100, 3, 2, 1],
    ]  # twelve zeros are cut or not without a trace, 100 is an outlier
    out = merged("breadcrumbs", [one, other], (1, 10), beta=0.25, gamma=0.125, scale=0.5)
    expected = [[0, 0, 0, 0], [2.5, -3, 3.5, -4], [4.5, -5, 5.5, -6], [6.5, -7, 0, 0]]
    expected[3][2] += 10  # of the other, 100 and 3 are the two largest
    expected[3][3] += 5
    assert out.tolist() == expected
    with pytest.raises(PlanError, match="no value"):
        merged("breadcrumbs", [one, other], beta=0.6, gamma=0.4)


def kept(seed, key, density):
    """The mask of a 4x4 expert: 1 where its generator, seeded by (seed, key), draws below the density."""
    generator = torch.Generator().manual_seed(seed_of(str(seed), key))
    return (torch.rand(4, 4, generator=generator) < density).float()


def test_dare_drops_and_rescales(method, parts):
    """Yu et al. 2023, eq. 2, with drop rate p = 0.75: what stays is 4 times as large."""
    a, b = torch.tensor(A), torch.tensor(B)
    masks = kept(5, "a", 0.25), kept(5, "b", 0.25)
    assert all(0 < mask.sum() < 16 for mask in masks)
    assert not torch.equal(*masks)
    some = parts([A, B], (1, 3))
    expected = 4 * (masks[0] * a) + 3 * 4 * (masks[1] * b)
    torch.testing.assert_close(method("dare", density=0.25).merge(some, 5).dense(), expected)
    bare = method("dare", density=0.25, rescale=False).merge(some, 5).dense()
    torch.testing.assert_close(bare, expected / 4)
    ties = method("dare", density=0.25, consensus="total", divide="count").merge(some, 5).dense()
    by_hand = method("ties", density=1.0).merge(parts([4 * masks[0] * a, 4 * masks[1] * b], (1, 3))).dense()
    torch.testing.assert_close(ties, by_hand)
    assert torch.equal(method("dare", density=1.0).merge(some, 5).dense(), a + 3 * b)


def test_dare_keeps_the_expectation_and_the_share(method, parts):
    ones = parts([torch.ones(40, 50), torch.zeros(40, 50)])
    runs = torch.stack([method("dare", density=0.2).merge(ones, seed).dense() for seed in range(20)])
    assert set(runs.unique().tolist()) == {0.0, 5.0}
    assert float(runs.mean()) == pytest.approx(1.0, abs=0.05)  # 40,000 draws: a standard error of 0.01


def test_what_is_dropped_of_an_expert_does_not_depend_on_its_company(method, parts):
    some, m = parts([torch.ones(4, 4), torch.full((4, 4), 100.0), torch.full((4, 4), 10000.0)]), method("dare")
    two, three = m.merge(some[:2], 7).dense(), m.merge(some, 7).dense()
    torch.testing.assert_close(three % 10000, two)


def test_della_drops_small_values_more_often():
    """Deep et al. 2024, section 3.1, with p = 0.5 and epsilon = 0.4: p_r = 0.3 + 0.4 r / 4."""
    chances = drop_chances(torch.tensor([[4.0, -1, 3, 2], [0, -5, 5, 6]]), 0.5, 0.4)
    torch.testing.assert_close(chances, torch.tensor([[0.3, 0.6, 0.4, 0.5], [0.6, 0.4, 0.5, 0.3]]))


def test_della_by_its_equations(method, parts):
    a, b = torch.tensor(A), torch.tensor(B)
    thinned = []
    for key, value in (("a", a), ("b", b)):
        keep = 1 - drop_chances(value, 0.5, 0.4)
        draws = torch.rand(4, 4, generator=torch.Generator().manual_seed(seed_of("5", key)))
        thinned.append(value * (draws < keep) / keep)
    some = parts([A, B], (1, 3))
    fused = method("ties", density=1.0).merge(parts(thinned, (1, 3))).dense()
    torch.testing.assert_close(method("della", window=0.4).merge(some, 5).dense(), fused)
    linear = method("della", window=0.4, consensus="none").merge(some, 5).dense()
    torch.testing.assert_close(linear, thinned[0] + 3 * thinned[1])
    for density in (0.05, 1.0):
        with pytest.raises(PlanError, match="window"):
            method("della", density=density, window=0.2)
    no_window = method("della", window=0.0, consensus="none").merge(some, 5).dense()
    torch.testing.assert_close(no_window, method("dare").merge(some, 5).dense())


def test_sce_by_hand(merged):
    """Wan et al. 2024, section 3.3. Variances of (a, b) are ((a - b) / 2)²: row by row 25 4 1 0 / 36 9 0 0 / 4 …"""
    a = [[6, 2, 1, 1], [-6, 3, 2, 2], [2, 0, 0, 0], [0, 0, 0, 0]]
    b = [[-4, -2, -1, 1], [6, -3, 2, 2], [-2, 0, 0, 0], [0, 0, 0, 0]]
    # tau = 1/4 keeps the 4 largest of 16: 25, 36, 9, and of the two 4s, which are equal, both.
    energy_a, energy_b = 36 + 4 + 36 + 9 + 4, 16 + 4 + 36 + 9 + 4
    eta_a, eta_b = energy_a / (energy_a + energy_b), energy_b / (energy_a + energy_b)
    # Signs: 6 - 4 > 0; 2 - 2 and the like are a draw, which elects plus.
    expected = [[6 * eta_a, 2 * eta_a, 0, 0], [6 * eta_b, 3 * eta_a, 0, 0], [2 * eta_a, 0, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(merged("sce", [a, b], select=0.25), torch.tensor(expected))
    divided = [[6.0, 2, 0, 0], [6, 3, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(merged("sce", [a, b], select=0.25, divide=True), torch.tensor(divided))
    # With weights 1 and 2 the second decides: 6 - 8 < 0, 2 - 4 < 0, -6 + 12 > 0, 3 - 6 < 0, 2 - 4 < 0.
    weighted = [[-8 * eta_b, -4 * eta_b, 0, 0], [12 * eta_b, -6 * eta_b, 0, 0], [-4 * eta_b, 0, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(merged("sce", [a, b], (1, 2), select=0.25), torch.tensor(weighted))
    torch.testing.assert_close(merged("sce", [a, a, a]), torch.tensor(a, dtype=torch.float32))
