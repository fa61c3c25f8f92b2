"""Partial correlations within groups, with intervals that leave out whole groups.

Of n observations in groups (splits of a sequence, say), every column is centred within its group,
which is a fixed effect for every group. The partial correlation of x and y given z is that of what
is left of x and y after regressing them on z; with S the products of the centred columns it is the
correlation belonging to the Schur complement

    S_ab - S_az S_zz^+ S_zb,    a, b in {x, y}

(Cramer 1946, section 23.4). Observations of one group are not independent, so intervals are from
the values without each whole group (the jackknife, Tukey 1958; Efron 1982, chapter 3). As the
centring is within groups, leaving one out only takes its products away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_UPPER = 0.975
_NOTHING_LEFT = 1e-10  # of a column's own products


def products_by_group(columns: Array, groups: Array) -> Array:
    """`(g, p, p)` products of columns `(n, p)` centred within the groups named by `groups` (n,).

    Groups come in sorted order. Columns are scaled to unit length first, those that are constant
    within all groups are left at 0.
    """
    columns, groups = np.asarray(columns, dtype=np.float64), np.asarray(groups)
    if columns.ndim != 2 or groups.shape != columns.shape[:1] or not len(columns):
        raise ValueError(
            f"Columns of shape {columns.shape} and groups of shape {groups.shape}; expected (n, p) "
            "and (n,)."
        )
    if not np.isfinite(columns).all():
        raise ValueError("Expected finite columns.")
    _, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((place.max() + 1, columns.shape[1]))
    np.add.at(sums, place, columns)
    centred = columns - (sums / np.bincount(place)[:, None])[place]
    centred[:, np.abs(centred).max(axis=0) <= 1e-12 * np.abs(columns).max(axis=0)] = 0.0
    lengths = np.linalg.norm(centred, axis=0)
    centred /= np.where(lengths > 0, lengths, 1.0)
    products = np.zeros((len(sums), columns.shape[1], columns.shape[1]))
    np.add.at(products, place, centred[:, :, None] * centred[:, None, :])
    return products


def partial_correlations(products: Array, given: int) -> Array:
    """Correlations `(..., q, q)` of the other columns given the first `given` of `(..., p, p)`.

    NaN where nothing is left of a column. Columns of the given ones may depend on each other.
    """
    products = np.asarray(products, dtype=np.float64)
    known, cross = products[..., :given, :given], products[..., :given, given:]
    whole = products[..., given:, given:]
    left = whole
    if given:
        inverse = np.linalg.pinv(known, rcond=1e-9, hermitian=True)
        left = whole - np.swapaxes(cross, -1, -2) @ inverse @ cross
    spread = np.diagonal(left, axis1=-2, axis2=-1)
    full = np.diagonal(whole, axis1=-2, axis2=-1)
    enough = (spread > _NOTHING_LEFT * full) & (full > 0)
    length = np.sqrt(np.where(enough, spread, np.nan))
    found: Array = np.clip(left / (length[..., :, None] * length[..., None, :]), -1, 1)
    return found


def without_each(products: Array) -> Array:
    """The products `(g, p, p)` of all groups but one, for each of them."""
    found: Array = products.sum(axis=0) - products
    return found


def mean_interval(values: Array, replicates: Sequence[Array]) -> tuple[Array, Array]:
    """The 95 % interval of the mean of `values` (t, ...) over t independent tables: low and high.

    `replicates` has for each table the values `(g, ...)` without each of its g groups, 2 or more.
    The variance of a table is (g - 1) / g sum_i (value_i - mean)^2; the quantile is Student's with
    as many degrees of freedom as there are groups less tables.
    """
    from scipy.stats import t

    if min(len(rows) for rows in replicates) < 2:
        raise ValueError("Expected two groups or more in every table.")
    variance = sum(
        (len(rows) - 1) / len(rows) * ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
        for rows in replicates
    )
    freedom = sum(len(rows) for rows in replicates) - len(replicates)
    reach = t.ppf(_UPPER, freedom) * np.sqrt(variance) / len(replicates)
    middle = np.asarray(values).mean(axis=0)
    return middle - reach, middle + reach
