"""Partial correlations within groups against regressions, the recursive formula and plain loops."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from oodml.shift.partial import (
    mean_interval,
    partial_correlations,
    products_by_group,
    without_each,
)


def loop_residuals(y, regressors):
    """What least squares leaves of y."""
    if not len(regressors):
        return y
    matrix = np.column_stack(regressors)
    return y - matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]


def loop_partial(x, y, given, groups):
    """Regressions on the given columns and a dummy a group, row by row; then the correlation."""
    dummies = [(groups == name).astype(float) for name in np.unique(groups)]
    left, right = (loop_residuals(column, [*given.T, *dummies]) for column in (x, y))
    return float(left @ right / sqrt((left @ left) * (right @ right)))


def example(seed: int, n: int = 40, given: int = 2):
    """Correlated columns, given ones first, with an offset a group."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 5, n)
    columns = rng.standard_normal((n, given + 3)) @ rng.standard_normal((given + 3, given + 3))
    return columns + rng.standard_normal((5, 1))[groups] * 10, groups


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("given", [0, 1, 3])
def test_equals_the_correlation_of_residuals(seed: int, given: int) -> None:
    columns, groups = example(seed, given=given)
    found = partial_correlations(products_by_group(columns, groups).sum(axis=0), given)
    known, others = columns[:, :given], columns[:, given:]
    expected = [[loop_partial(a, b, known, groups) for a in others.T] for b in others.T]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_equals_the_recursive_formula() -> None:
    """r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)), Yule 1907."""
    z, x, y = np.random.default_rng(0).standard_normal((3, 30))
    y = y + x - z
    r = np.corrcoef([z, x, y])
    expected = (r[1, 2] - r[0, 1] * r[0, 2]) / sqrt((1 - r[0, 1] ** 2) * (1 - r[0, 2] ** 2))
    products = products_by_group(np.column_stack([z, x, y]), np.zeros(30))
    assert partial_correlations(products[0], 1)[0, 1] == pytest.approx(expected)


def test_what_is_given_explains_a_common_cause_away() -> None:
    """Two effects of one cause correlate; given the cause they do not, in a large sample."""
    rng = np.random.default_rng(0)
    cause, a, b = rng.standard_normal((3, 20_000))
    products = products_by_group(np.column_stack([cause, cause + a, cause + b]), np.zeros(20_000))
    whole = products.sum(axis=0)
    assert partial_correlations(whole[1:, 1:], 0)[0, 1] == pytest.approx(0.5, abs=0.03)
    assert partial_correlations(whole, 1)[0, 1] == pytest.approx(0, abs=0.03)


def test_neither_units_nor_offsets_of_groups_change_anything() -> None:
    columns, groups = example(1)
    moved = columns * [2, 1e6, 1e-6, 3, -1] + np.arange(5)[groups][:, None] * 100.0
    one, two = (
        partial_correlations(products_by_group(c, groups).sum(axis=0), 2) for c in (columns, moved)
    )
    np.testing.assert_allclose(two[:2, :2], one[:2, :2], atol=1e-6)
    np.testing.assert_allclose(two[2, :2], -one[2, :2], atol=1e-6)


def test_a_given_column_said_twice_changes_nothing() -> None:
    columns, groups = example(2, given=1)
    doubled = np.column_stack([columns[:, :1], 3 * columns[:, :1], columns[:, 1:]])
    once = partial_correlations(products_by_group(columns, groups).sum(axis=0), 1)
    twice = partial_correlations(products_by_group(doubled, groups).sum(axis=0), 2)
    np.testing.assert_allclose(twice, once, atol=1e-8)


def test_nothing_left_is_nan_and_spares_the_others() -> None:
    columns, groups = example(3)
    columns[:, 2] = groups  # constant within every group
    columns[:, 3] = columns[:, 0] - 2 * columns[:, 1]  # all of it given
    found = partial_correlations(products_by_group(columns, groups).sum(axis=0), 2)
    assert np.isnan(found[:2]).all()
    assert found[2, 2] == pytest.approx(1)


def test_without_each_is_the_rows_of_the_others() -> None:
    columns, groups = example(4)
    found = partial_correlations(without_each(products_by_group(columns, groups)), 2)
    for name, value in zip(np.unique(groups), found, strict=True):
        rows = groups != name
        known, others = columns[rows, :2], columns[rows, 2:]
        expected = [[loop_partial(a, b, known, groups[rows]) for a in others.T] for b in others.T]
        np.testing.assert_allclose(value, expected, atol=1e-8)


def test_the_interval_of_means_is_students() -> None:
    """Where the value of a table is the mean of its groups, the textbook's interval results."""
    from scipy.stats import ttest_1samp

    groups = np.random.default_rng(0).standard_normal((12, 2))
    replicates = (groups.sum(axis=0) - groups) / 11
    low, high = mean_interval(groups.mean(axis=0)[None], [replicates])
    expected = ttest_1samp(groups, 0).confidence_interval(0.95)
    np.testing.assert_allclose([low, high], [expected.low, expected.high])


def test_tables_of_equal_groups_halve_the_variance() -> None:
    """Two copies of one table, taken as independent: its interval by sqrt 2, but for t's."""
    from scipy.stats import t

    values, replicates = np.array([0.3]), np.random.default_rng(1).standard_normal(9)
    one = mean_interval(values, [replicates])
    two = mean_interval(np.array([0.3, 0.3]), [replicates, replicates])
    ratio = t.ppf(0.975, 16) / t.ppf(0.975, 8) / sqrt(2)
    assert two[1] - two[0] == pytest.approx((one[1] - one[0]) * ratio)
    with pytest.raises(ValueError, match="two groups"):
        mean_interval(values, [replicates[:1]])


@pytest.mark.slow
def test_intervals_cover_a_known_partial_correlation() -> None:
    """Normal columns in 10 groups of 8 with slopes that differ between groups."""
    rng, hits, given = np.random.default_rng(0), 0, 1

    def table(groups: int):
        place = np.repeat(np.arange(groups), 8)
        z, x, noise = rng.standard_normal((3, len(place)))
        slope = 0.5 + 0.3 * rng.standard_normal(groups)
        return products_by_group(np.column_stack([z, z + x, slope[place] * x + z + noise]), place)

    truth = partial_correlations(table(20_000).sum(axis=0), given)[0, 1]
    for _ in range(400):
        products = table(10)
        value = partial_correlations(products.sum(axis=0), given)[0, 1]
        each = partial_correlations(without_each(products), given)[:, 0, 1]
        low, high = mean_interval(np.array([value]), [each])
        hits += bool(low <= truth <= high)
    assert 0.90 <= hits / 400 <= 0.99


@pytest.mark.parametrize(
    ("columns", "groups"),
    [
        (np.zeros(4), np.zeros(4)),
        (np.zeros((4, 2)), np.zeros(3)),
        (np.zeros((0, 2)), np.zeros(0)),
        (np.array([[0.0, np.nan]]), np.zeros(1)),
    ],
)
def test_bad_input_is_refused(columns, groups) -> None:
    with pytest.raises(ValueError, match="xpected"):
        products_by_group(columns, groups)
