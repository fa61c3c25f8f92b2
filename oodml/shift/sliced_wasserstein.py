"""The squared sliced Wasserstein distance of order 2 between the class means of two sides.

    SW^2(X, Y) = mean over directions u of W_2^2(X u, Y u)

with uniform weights on the class means of either side and random directions u of length 1, drawn
once from a seed and the same for every split (Bonneel et al.: "Sliced and Radon Wasserstein
Barycenters of Measures", JMIV 2015). In one dimension W_2^2 is the mean squared difference of the
two quantile functions, exact here also where the sides are of different size. The *square*, unlike
`ot.sliced_wasserstein_distance`, as `frechet` and `transport` are squares too: the unit is that of
a squared feature distance, and in d dimensions the value is about 1 / d of theirs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import UnknownNameError
from oodml.shift.measure import Distance, Laws, Measure, check_sides, name_variant
from oodml.shift.moments import class_moments
from oodml.shift.pairs import centred, stack_sides

Array = np.ndarray[Any, Any]

DEFAULTS = {"projections": 256, "seed": 0}


def sliced_wasserstein_measure(projections: int = 256, seed: int = 0) -> Measure:
    """The measure with so many directions, drawn from a seed."""
    if projections < 1 or seed < 0:
        raise UnknownNameError(
            f"sliced-wasserstein with {projections} projections and seed {seed}; expected at least "
            "1 and 0."
        )
    values = {"projections": projections, "seed": seed}
    return Measure(
        name=name_variant("sliced-wasserstein", DEFAULTS, values),
        needs="means",
        laws=Laws(rotation="statistical", translation=True, power=2),
        between=partial(_between, projections=projections, seed=seed),
        on=partial(_on, projections=projections, seed=seed),
        parameters=values,
        variant=sliced_wasserstein_measure,
    )


def _between(x: Array, y: Array, *, projections: int, seed: int) -> float:
    points, one, other = stack_sides(x, y)
    lines = draw_directions(points.shape[1], projections, seed) @ points.T
    return _mean_square(lines[:, one], lines[:, other])


def _on(embeddings: EmbeddingSet, *, projections: int, seed: int) -> Distance:
    points = centred(class_moments(embeddings).means)
    lines = draw_directions(points.shape[1], projections, seed) @ points.T

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        return _mean_square(lines[:, x], lines[:, y])

    return distance


def draw_directions(dimension: int, projections: int, seed: int) -> Array:
    """Directions drawn evenly from the sphere, `(projections, dimension)`, each of length 1."""
    drawn = np.random.default_rng(seed).standard_normal((projections, dimension))
    unit: Array = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def _mean_square(x: Array, y: Array) -> float:
    """The mean W_2^2 of the rows of `(L, n)` and `(L, m)`."""
    x, y = np.sort(x, axis=1), np.sort(y, axis=1)
    n, m = x.shape[1], y.shape[1]
    if n == m:
        return float(np.mean((x - y) ** 2))
    # Both quantile functions are constant between neighbouring multiples of m and of n, out of n m.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    gaps = x[:, (ends - 1) // m] - y[:, (ends - 1) // n]
    return float(((gaps * gaps) @ widths).mean())


SLICED_WASSERSTEIN = sliced_wasserstein_measure()
