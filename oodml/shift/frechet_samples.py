"""The Fréchet distance between the images of two sides.

    FID(X, Y) = |mu_X - mu_Y|^2 + tr S_X + tr S_Y - 2 tr (S_X S_Y)^(1/2)

over all *images* of the classes of either side (Heusel et al.: "GANs Trained by a Two Time-Scale
Update Rule", NeurIPS 2017), with sample covariances S, exact: no eps, no rounding beyond float64.
Unlike `frechet` it counts large classes more and includes the spread within the classes. The unit
is that of a squared feature distance. In the short form every class is one image, which is
`frechet`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.shift.frechet import frechet_distance
from oodml.shift.measure import Distance, Laws, Measure, check_sides
from oodml.shift.sample_moments import (
    SampleMoments,
    add_moments,
    class_images,
    quick_moments_distance,
)

Array = np.ndarray[Any, Any]

_BUDGET = 1 << 30  # bytes that the scatters of all classes may take
_IMAGES = 50  # a class; adding a scatter takes as long as reading about so many images


def frechet_samples_on(embeddings: EmbeddingSet) -> Distance:
    """The distance between two arrays of class rows.

    With more images than dimensions on both sides, and covariances far enough from singular, it is
    computed from moments; else from the nuclear norm of a product of the two sides' vectors.
    """
    rows = class_images(embeddings)
    vectors, dimension = embeddings.vectors, embeddings.vectors.shape[1]
    moments = _side_moments(vectors, rows)

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        sides = [np.concatenate([rows[row] for row in side]) for side in (x, y)]
        if min(map(len, sides)) > dimension:
            quick = quick_moments_distance(moments(x), moments(y))
            if quick is not None:
                return quick
        one, other = (vectors[side].astype(np.float64) for side in sides)
        return frechet_distance(one, other)

    return distance


def _side_moments(vectors: Array, rows: list[Array]) -> Callable[[Array], SampleMoments]:
    """The moments of a side: those of its classes added up where they fit in memory and it pays.

    Else the side's vectors are read again each time.
    """
    bytes_needed = len(rows) * vectors.shape[1] ** 2 * 8
    if len(vectors) < _IMAGES * len(rows) or bytes_needed > _BUDGET:
        return lambda side: SampleMoments.of(vectors[np.concatenate([rows[row] for row in side])])
    moments = [SampleMoments.of(vectors[images]) for images in rows]
    return lambda side: add_moments([moments[row] for row in side])


FRECHET_SAMPLES = Measure(
    name="frechet-samples",
    needs="samples",
    laws=Laws(rotation="exact", translation=True, power=2),
    between=frechet_distance,
    on=frechet_samples_on,
)
