"""Rank correlations, their intervals, and Kendall's W against plain loops and simulation."""

from __future__ import annotations

from itertools import combinations, permutations
from math import asin, pi, sqrt

import numpy as np
import pytest

from oodml.shift import concordance, kendall, pearson, rank_correlation, spearman
from oodml.shift.correlation import MOST_ITEMS


def loop_tau(x, y):
    """Tau-b, pair by pair."""
    concordant = discordant = ties_x = ties_y = 0
    for i, j in combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        concordant += a * b > 0
        discordant += a * b < 0
        ties_x += a == 0
        ties_y += b == 0
    pairs = len(x) * (len(x) - 1) / 2
    return (concordant - discordant) / sqrt((pairs - ties_x) * (pairs - ties_y))


def loop_ranks(x):
    """Mean ranks: those below, and half of those at the same place."""
    return [sum(b < a for b in x) + (sum(b == a for b in x) + 1) / 2 for a in x]


def loop_pearson(x, y):
    mx, my = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return across / sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def loop_w(rows):
    """From the mean Spearman correlation of all pairs: W = (1 + (m - 1) mean) / m."""
    ranks = [loop_ranks(row) for row in rows]
    mean = np.mean([loop_pearson(a, b) for a, b in combinations(ranks, 2)])
    return (1 + (len(rows) - 1) * mean) / len(rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", [False, True])
def test_values_are_those_of_plain_loops(seed: int, *, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, (2, 9)) if ties else rng.standard_normal((2, 9))
    assert kendall(x, y).value == pytest.approx(loop_tau(x, y), abs=1e-11)
    expected = loop_pearson(loop_ranks(x), loop_ranks(y))
    assert spearman(x, y).value == pytest.approx(expected, abs=1e-11)
    assert pearson(x, y) == pytest.approx(loop_pearson(x, y))


@pytest.mark.parametrize("function", [spearman, kendall])
@pytest.mark.parametrize("items", [2, 3, 6, 9, 30])
def test_laws(function, items: int) -> None:
    x, y = np.random.default_rng(items).standard_normal((2, items))
    found = function(x, y)
    assert function(x, x).value == 1
    assert function(x, -x).value == -1
    assert function(y, x) == found
    assert function(np.exp(3 * x), y**3) == found  # growing transforms leave it as it is
    order = np.random.default_rng(1).permutation(items)
    assert function(x[order], y[order]) == found
    turned = function(x, -y)
    assert (turned.value, turned.low, turned.high) == (-found.value, -found.high, -found.low)
    assert -1 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("function", [spearman, kendall])
def test_a_perfect_correlation_has_a_lower_end_that_more_splits_raise(function) -> None:
    ends = [function(np.arange(n), np.arange(n)).low for n in (2, 3, 6, 9, 20)]
    assert ends == sorted(ends)
    assert ends[0] < -0.9  # two splits say nothing
    assert 0.5 < ends[3] < 0.95
    assert ends[4] < 1
    assert function(np.arange(9), np.arange(9)).high == 1


def test_the_end_of_two_items_is_the_one_of_theory() -> None:
    """P(same order) = 1/2 + asin(rho) / pi is 2.5 % at rho = -cos(0.025 pi)."""
    rho = -np.cos(0.025 * pi)
    assert kendall([1, 2], [1, 2]).low == pytest.approx(2 / pi * asin(rho), abs=5e-3)
    assert spearman([1, 2], [1, 2]).low == pytest.approx(6 / pi * asin(rho / 2), abs=5e-3)


@pytest.mark.parametrize("function", [spearman, kendall])
@pytest.mark.parametrize("items", [6, 9, 20])
@pytest.mark.parametrize("rho", [0.0, 0.9, 0.98])
def test_intervals_cover_the_truth_of_correlated_normals(function, items, rho) -> None:
    """95 % or more, less three standard errors of 600 samples; not all, or they would say little.

    Few items take few values, which makes intervals wide: at most 99.5 %.
    """
    rng = np.random.default_rng([items, round(100 * rho)])
    truth = 6 / pi * asin(rho / 2) if function is spearman else 2 / pi * asin(rho)
    x, z = rng.standard_normal((2, 600, items))
    y = rho * x + sqrt(1 - rho**2) * z
    covered = [f.low <= truth <= f.high for f in map(function, x, y)]
    assert 0.923 <= np.mean(covered) <= 0.995


def test_what_is_undefined_is_none() -> None:
    for function in (spearman, kendall):
        found = function([1, 2, 3], [5, 5, 5])
        assert (found.value, found.low, found.high) == (None, None, None)
        many = np.arange(MOST_ITEMS + 1)
        assert function(many, many).value == 1
        assert function(many, many).low is None
        for x, y in (([1], [1]), ([1, 2], [1, 2, 3]), ([1, np.nan], [1, 2])):
            with pytest.raises(ValueError, match="Expected"):
                function(x, y)
    assert pearson([1, 2, 3], [0.1, 0.1, 0.1]) is None
    assert rank_correlation([1, 2], [2, 2]) is None


@pytest.mark.parametrize("ties", [False, True])
def test_w_follows_from_the_mean_correlation_of_pairs(*, ties: bool) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 7))
    found = concordance(rows)
    assert found.w == pytest.approx(loop_w(rows.tolist()))
    if ties:
        # With ties of one pattern in every row the corrected W keeps that relation.
        rows = np.stack([rng.permutation([1, 1, 2, 3, 3, 3, 4]) for _ in range(4)])
        assert concordance(rows).w == pytest.approx(loop_w(rows.tolist()))


def test_w_of_equal_orders_is_one_and_rare() -> None:
    found = concordance(np.tile(np.arange(8.0), (3, 1)))
    assert found.w == 1
    assert found.p == pytest.approx(1e-4)
    assert concordance(np.stack([np.arange(8), -np.arange(8)])).w == pytest.approx(0)
    assert concordance(np.stack([np.arange(8), -np.arange(8)])).p == 1
    for rows in (np.ones((3, 5)), np.arange(5)[None], np.ones((3, 1))):
        assert concordance(rows) is None


def test_p_of_w_is_that_of_all_orders() -> None:
    rows = np.array([[1, 2, 3, 4], [2, 1, 3, 4], [1, 2, 4, 3]])

    def spread(*lists):
        sums = np.sum(lists, axis=0)
        return ((sums - sums.mean()) ** 2).sum()

    orders = [np.array(order) for order in permutations((1, 2, 3, 4))]
    every = [spread(rows[0], a, b) >= spread(*rows) for a in orders for b in orders]
    assert concordance(rows).p == pytest.approx(np.mean(every), abs=0.01)
