"""The Fréchet distance between the class means of two sides: the paper's shift.

    FID(X, Y) = |mu_X - mu_Y|^2 + tr S_X + tr S_Y - 2 tr (S_X S_Y)^(1/2)

over the class means (rows of X and Y), with sample covariances S (Milbich et al., NeurIPS 2021).
With A = (X - mu_X) / sqrt(n - 1) and B likewise, tr (S_X S_Y)^(1/2) is the nuclear norm of A B^T,
an (n, m) matrix: exact also where there are fewer classes than dimensions, and without any d x d
matrix. The unit is that of a squared feature distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from oodml.embed import EmbeddingSet
from oodml.shift.measure import Distance, Laws, Measure
from oodml.shift.moments import class_moments

Array = np.ndarray[Any, Any]


def frechet_distance(x: Array, y: Array) -> float:
    """The distance between two sets of class means, `(n, d)` and `(m, d)`, n and m at least 2.

    >>> round(frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])), 12)
    9.0
    """
    _check(len(x), len(y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"Sides of shapes {x.shape} and {y.shape}; expected (n, d) and (m, d).")
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    a = _root(x - mean_x)
    b = _root(y - mean_y)
    gap = mean_x - mean_y
    return _combine(float(gap @ gap), float((a * a).sum() + (b * b).sum()), a @ b.T)


def _root(centred: Array) -> Array:
    """A with A^T A the covariance; the triangle of its QR where that is smaller."""
    a: Array = centred / np.sqrt(len(centred) - 1)
    if a.shape[0] <= a.shape[1]:
        return a
    triangle = scipy.linalg.qr(a, mode="r", check_finite=False)[0]
    return np.asarray(triangle, dtype=np.float64)[: a.shape[1]]


def _check(n: int, m: int) -> None:
    if min(n, m) < 2:
        raise ValueError(f"Sides of {n} and {m} classes; a covariance needs at least 2 on each.")


def _combine(gap: float, traces: float, product: Array) -> float:
    nuclear = float(scipy.linalg.svdvals(product, check_finite=False).sum())
    distance = gap + traces - 2 * nuclear
    # Rounding leaves about 1e-16 of the traces; equal sides are at distance 0, not just below it.
    return distance if distance > 1e-13 * traces else 0.0


def frechet_on(embeddings: EmbeddingSet) -> Distance:
    """The distance between two arrays of class rows of one embedding set.

    Where there are no more classes than dimensions, one Gram matrix of all class means serves every
    split: A B^T is a doubly centred block of it.
    """
    moments = class_moments(embeddings)
    if moments.means.shape[0] > moments.means.shape[1]:
        return lambda x, y: frechet_distance(moments.means[x], moments.means[y])
    gram = moments.gram()

    def distance(x: Array, y: Array) -> float:
        _check(len(x), len(y))
        xx, yy, xy = gram[np.ix_(x, x)], gram[np.ix_(y, y)], gram[np.ix_(x, y)]
        gap = xx.mean() + yy.mean() - 2 * xy.mean()
        traces = sum((np.trace(g) - g.sum() / len(g)) / (len(g) - 1) for g in (xx, yy))
        centred = xy - xy.mean(axis=0) - xy.mean(axis=1, keepdims=True) + xy.mean()
        scale = np.sqrt((len(x) - 1.0) * (len(y) - 1.0))
        return _combine(float(gap), float(traces), centred / scale)

    return distance


FRECHET = Measure(
    name="frechet",
    needs="means",
    laws=Laws(rotation="exact", translation=True, power=2),
    between=frechet_distance,
    on=frechet_on,
)
