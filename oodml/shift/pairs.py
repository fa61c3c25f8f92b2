"""Sums over all pairs of classes: what the measures that compare classes one by one share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CACHED_CLASSES = 4096  # up to here a matrix over all pairs (128 MiB) is kept between evaluations
_BLOCK = 1024


def centred(points: Array) -> Array:
    """Points about their common mean; what only rounding moved off that mean is put back on it."""
    moved: Array = points - points.mean(axis=0, dtype=np.float64)
    moved[np.abs(moved) <= 1e-14 * np.abs(points).max()] = 0.0
    return moved


def squared_distances(x: Array, y: Array) -> Array:
    """|x_i - y_j|^2 for all pairs of rows, `(n, m)`; give points about a common centre.

    Pairs that differ by no more than rounding are at exactly 0.
    """
    norms = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
    squares: Array = norms - 2 * (x @ y.T)
    squares[squares <= 1e-13 * norms] = 0.0
    return squares


def signed_weights(x: Array, y: Array, count: int) -> Array:
    """1 / n on the rows of x less 1 / m on the rows of y, `(count,)`."""
    return np.bincount(x, minlength=count) / len(x) - np.bincount(y, minlength=count) / len(y)


def stack_sides(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The points of both sides about their common mean, and the rows of either side."""
    points = centred(np.concatenate([x, y]))
    return points, np.arange(len(x)), np.arange(len(x), len(points))


def quadratic_form(
    points: Array, kernel: Callable[[Array, Array], Array]
) -> Callable[[Array], float]:
    """w -> sum over i, j of w_i w_j k(p_i, p_j), at least 0; k is computed once where it fits."""
    if len(points) <= CACHED_CLASSES:
        matrix = kernel(points, points)
        rounding = 1e-14 * np.abs(matrix).max()

        def whole(w: Array) -> float:
            value = float(w @ matrix @ w)
            return value if value > rounding else 0.0

        return whole

    def in_blocks(w: Array) -> float:
        rows = np.flatnonzero(w)
        value, largest = 0.0, 0.0
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            block = kernel(points[some], points[rows])
            value += float(w[some] @ block @ w[rows])
            largest = max(largest, float(np.abs(block).max()))
        return value if value > 1e-14 * largest else 0.0

    return in_blocks
