"""The optimal transport of the classes of one side to those of the other.

    OT(X, Y) = min over P of sum_ij P_ij C_ij,    P >= 0, rows sum to 1 / n, columns to 1 / m
    C_ij = |m_i - m_j|^2 + tr S_i + tr S_j - 2 tr (S_i^(1/2) S_j S_i^(1/2))^(1/2)

where classes are Gaussians (mean m, sample covariance S; that of a class of one image is 0) and the
cost C is their squared Bures-Wasserstein distance: the squared Wasserstein distance between two
mixtures of Gaussians (Delon and Desolneux: "A Wasserstein-type distance in the space of Gaussian
mixture models", SIAM J. Imaging Sciences, 2020). With A_i the centred images of class i over
sqrt(n_i - 1), the last trace is the nuclear norm of A_i A_j^T: no d x d matrix. `diagonal` takes
only the variances of each dimension: C_ij = |m_i - m_j|^2 + |s_i - s_j|^2 with standard deviations
s; that depends on the axes. The unit is that of a squared feature distance. In the short form every
class is one image.

Mind that covariances of few images in many dimensions hardly overlap: C then has a large part, near
tr S_i + tr S_j, that all pairs share and no split can lower.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import SplitError
from oodml.shift.bures import bures_costs, class_deviations
from oodml.shift.measure import Distance, Laws, Measure, check_sides, name_variant
from oodml.shift.moments import class_moments
from oodml.shift.pairs import CACHED_CLASSES, centred, squared_distances, stack_sides

Array = np.ndarray[Any, Any]

DEFAULTS = {"diagonal": False}
MOST_CLASSES = 2000
_ITERATIONS = 100_000_000


def transport_measure(*, diagonal: bool = False) -> Measure:
    """The measure with whole covariances, or with diagonal ones."""
    values = {"diagonal": diagonal}
    return Measure(
        name=name_variant("transport", DEFAULTS, values),
        needs="covariances",
        laws=Laws(rotation=None if diagonal else "exact", translation=True, power=2),
        between=transport_distance,
        on=_diagonal_on if diagonal else _full_on,
        parameters=values,
        variant=transport_measure,
    )


def transport_distance(x: Array, y: Array) -> float:
    """The distance between two sets of class means, `(n, d)` and `(m, d)`, covariances 0.

    >>> transport_distance(np.array([[0.0], [2.0]]), np.array([[5.0], [3.0]]))
    9.0
    """
    points, one, other = stack_sides(x, y)
    return optimal_cost(squared_distances(points[one], points[other]))


def optimal_cost(costs: Array) -> float:
    """The least mean cost `(n, m)` of moving n equal masses onto m equal masses.

    Between sides of one size some one-to-one assignment is optimal, which scipy finds sooner than
    POT is imported.
    """
    n, m = costs.shape
    if n == m:
        from scipy.optimize import linear_sum_assignment

        return float(costs[linear_sum_assignment(costs)].mean())
    import ot

    weights = np.full(n, 1 / n), np.full(m, 1 / m)
    cost, log = ot.emd2(*weights, costs, numItermax=_ITERATIONS, log=True)
    if log["warning"] is not None:
        raise SplitError(f"No optimal transport of {n} to {m} classes was found: {log['warning']}")
    return float(cost)


def _full_on(embeddings: EmbeddingSet) -> Distance:
    """The distance between two arrays of class rows; its first call computes all pairs' costs.

    Raises `SplitError` above 2,000 classes.
    """
    if len(embeddings.classes) > MOST_CLASSES:
        raise SplitError(
            f"{embeddings.dataset!r} has {len(embeddings.classes)} classes; transport with whole "
            f"covariances takes at most {MOST_CLASSES}: use transport?diagonal=1."
        )
    costs = functools.cache(partial(bures_costs, embeddings))

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        return optimal_cost(costs()[np.ix_(x, y)])

    return distance


def _diagonal_on(embeddings: EmbeddingSet) -> Distance:
    points = np.hstack([centred(class_moments(embeddings).means), class_deviations(embeddings)])
    every = squared_distances(points, points) if len(points) <= CACHED_CLASSES else None

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        if every is None:
            return optimal_cost(squared_distances(points[x], points[y]))
        return optimal_cost(every[np.ix_(x, y)])

    return distance


TRANSPORT = transport_measure()
