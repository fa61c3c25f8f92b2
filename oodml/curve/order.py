"""Does the order of methods hold from the first split to the last, beyond the luck of seeds?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from oodml.curve.estimates import REPLICATES
from oodml.curve.results import Results

Array = np.ndarray[Any, Any]
_SEED = 0
_MOST_HALVINGS = 500


@dataclass(frozen=True, slots=True)
class OrderChange:
    """How alike the first and the last split order the methods.

    `tau` is Kendall's tau-b of the means at either split. Even one split orders methods in another
    way under other seeds: `ceiling` is the tau between the means of two halves of the seeds on the
    same split, averaged over halvings and over both splits, and `between` the same on different
    splits, one half each; the order changes with the shift as far as `between` is below `ceiling`.
    Both are None where a method has a single seed. `best_first` and `best_last` are the best
    methods, and `changes` is how often they differ when classes are drawn again and seed noise is
    added (None without class sums, or where a method has a single seed, of whose luck nothing is
    known).
    """

    tau: float | None
    ceiling: float | None
    between: float | None
    best_first: str
    best_last: str
    changes: float | None


def order_change(
    results: Sequence[Results], names: Sequence[str], sign: int = 1
) -> OrderChange | None:
    """The change of order among methods on the same queries; None for fewer than two, or one split.

    `sign` is -1 where less of the metric is better.
    """
    if len(results) < 2 or len(results[0].ranks) < 2:
        return None
    means = np.stack([_ends(found.values) for found in results]) * sign  # (methods, 2)
    unsure = any(found.one_seed for found in results)
    ceiling, between = (None, None) if unsure else _halves(results)
    best = means.argmax(axis=0)
    return OrderChange(
        tau=_tau(means[:, 0], means[:, 1]),
        ceiling=ceiling,
        between=between,
        best_first=names[best[0]],
        best_last=names[best[1]],
        changes=None if unsure else _changes(results, sign),
    )


def _tau(one: Array, other: Array) -> float | None:
    """Kendall's tau-b; None where one of the rows is constant."""
    from scipy.stats import kendalltau

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(kendalltau(one, other).statistic)


def _halves(results: Sequence[Results]) -> tuple[float | None, float | None]:
    """Mean tau between halves of the seeds, on the same split and on different ones."""
    seeded = [{*found.seeds} for found in results if found.seeds]
    shared = sorted(set.intersection(*seeded)) if seeded else []
    if len(shared) < 2:
        return None, None
    same, across = [], []
    for one, other in _halvings(shared):
        a, b = (np.stack([_half(found, half) for found in results]) for half in (one, other))
        same += [_tau(a[:, end], b[:, end]) for end in (0, 1)]
        across += [_tau(a[:, 0], b[:, 1]), _tau(b[:, 0], a[:, 1])]
    return _mean(same), _mean(across)


def _half(results: Results, seeds: Sequence[int]) -> Array:
    """Means at the first and the last split over some seeds; over all units where none is drawn."""
    rows = [results.units.index(seed) for seed in seeds] if results.seeds else slice(None)
    return _ends(results.values[rows])


def _ends(values: Array) -> Array:
    """Means of units (U, K) at the first and the last split, without the rounding of sums."""
    return np.asarray(np.round(values[:, [0, -1]].mean(axis=0), 12))


def _halvings(units: Sequence[Any]) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Disjoint halves of equal size; of an odd number one unit stays out."""
    size = len(units) // 2
    if comb(len(units), size) <= 2 * _MOST_HALVINGS:
        for one in combinations(units, size):
            rest = [unit for unit in units if unit not in one]
            yield from ((one, other) for other in combinations(rest, size) if one < other)
        return
    rng = np.random.default_rng(_SEED)
    for _ in range(_MOST_HALVINGS):
        drawn = [units[at] for at in rng.permutation(len(units))]
        yield tuple(drawn[:size]), tuple(drawn[size : 2 * size])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _changes(results: Sequence[Results], sign: int) -> float | None:
    """How often the best method of the last split is not that of the first one."""
    drawn = [found.replicates for found in results]
    if any(rows is None or len(rows) < REPLICATES for rows in drawn):
        return None
    ends = np.stack([rows[:, [0, -1]] for rows in drawn if rows is not None])  # (methods, R, 2)
    noise = np.stack([_seed_errors(found) for found in results])[:, None]  # (methods, 1, 2)
    rng = np.random.default_rng(_SEED)
    ends = sign * ends + noise * rng.standard_normal(ends.shape)
    kept = ends[:, np.isfinite(ends).all(axis=(0, 2))]
    first, last = kept.argmax(axis=0).T
    return float(np.mean(first != last)) if len(first) else None


def _seed_errors(results: Results) -> Array:
    """The standard error that seeds leave at the first and the last split; 0 without seeds."""
    if not results.seeds:
        return np.zeros(2)
    values = results.values[:, [0, -1]]
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))
