"""The energy distance between the class means of two sides.

    D(X, Y) = 2 E|x - y| - E|x - x'| - E|y - y'|

with every expectation over all pairs of class means, a class with itself included (V-statistic), so
that D is at least 0, and 0 only between equal sets (Székely and Rizzo: "Energy statistics", Journal
of Statistical Planning and Inference, 2013). The unit is that of a feature distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.shift.measure import Distance, Laws, Measure, check_sides
from oodml.shift.moments import class_moments
from oodml.shift.pairs import (
    centred,
    quadratic_form,
    signed_weights,
    squared_distances,
    stack_sides,
)

Array = np.ndarray[Any, Any]


def energy_distance(x: Array, y: Array) -> float:
    """The distance between two sets of class means, `(n, d)` and `(m, d)`.

    >>> energy_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
    4.0
    """
    points, one, other = stack_sides(x, y)
    return quadratic_form(points, _closeness)(signed_weights(one, other, len(points)))


def energy_on(embeddings: EmbeddingSet) -> Distance:
    """The distance between two arrays of class rows; all distances of classes are computed once."""
    points = centred(class_moments(embeddings).means)
    form = quadratic_form(points, _closeness)

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        return form(signed_weights(x, y, len(points)))

    return distance


def _closeness(x: Array, y: Array) -> Array:
    closeness: Array = -np.sqrt(squared_distances(x, y))
    return closeness


ENERGY = Measure(
    name="energy",
    needs="means",
    laws=Laws(rotation="exact", translation=True, power=1),
    between=energy_distance,
    on=energy_on,
)
