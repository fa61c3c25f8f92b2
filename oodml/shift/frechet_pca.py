"""The Fréchet distance between class means in their leading principal components.

    FID(X V, Y V),    V (d, k) the k leading principal components of *all* class means

for few classes in many dimensions, where most of the class-mean Fréchet distance is what any two
random halves are apart. The components are found once over all classes of an embedding set, so that
every split is measured in the same basis (in the short form: over the rows of both sides); k is
`components`, or less where there are fewer dimensions or fewer than k + 1 classes. With all
components it equals `frechet`. The unit is that of a squared feature distance.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

from oodml.embed import EmbeddingSet
from oodml.errors import UnknownNameError
from oodml.shift.frechet import frechet_distance
from oodml.shift.measure import Distance, Laws, Measure, check_sides, name_variant
from oodml.shift.moments import class_moments
from oodml.shift.pairs import centred

Array = np.ndarray[Any, Any]

DEFAULTS = {"components": 32}


def frechet_pca_measure(components: int = 32) -> Measure:
    """The measure in so many components."""
    if components < 1:
        raise UnknownNameError(
            f"frechet-pca with {components} components; expected at least 1, such as 32."
        )
    values = {"components": components}
    return Measure(
        name=name_variant("frechet-pca", DEFAULTS, values),
        needs="means",
        laws=Laws(rotation="exact", translation=True, power=2),
        between=partial(_between, components=components),
        on=partial(_on, components=components),
        parameters=values,
        variant=frechet_pca_measure,
    )


def _between(x: Array, y: Array, *, components: int) -> float:
    points = principal_coordinates(np.concatenate([x, y]), components)
    return frechet_distance(points[: len(x)], points[len(x) :])


def _on(embeddings: EmbeddingSet, *, components: int) -> Distance:
    points = principal_coordinates(class_moments(embeddings).means, components)

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        return frechet_distance(points[x], points[y])

    return distance


def principal_coordinates(points: Array, components: int) -> Array:
    """The points `(n, d)` in their leading principal components, `(n, k)`, largest first."""
    moved = centred(points)
    n, d = moved.shape
    k, size = min(components, n - 1, d), min(n, d)
    square = moved @ moved.T if n <= d else moved.T @ moved
    values, vectors = scipy.linalg.eigh(square, subset_by_index=[size - k, size - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    if n <= d:
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
    return np.asarray(moved @ vectors)


FRECHET_PCA = frechet_pca_measure()
