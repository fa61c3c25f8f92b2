"""The squared maximum mean discrepancy between the class means of two sides.

    MMD^2(X, Y) = E k(x, x') + E k(y, y') - 2 E k(x, y)

with every expectation over all pairs of class means, a class with itself included: the biased
estimate, at least 0 (Gretton et al.: "A Kernel Two-Sample Test", JMLR 2012).

    rbf          k(x, y) = exp(-|x - y|^2 / 2 s^2), where s is the median distance between different
                 class means, one for all splits of a data set; MMD^2 is a pure number below 2
    polynomial   k(x, y) = (x.y / d + 1)^3, that of the kernel inception distance (Binkowski et al.:
                 "Demystifying MMD GANs", ICLR 2018), which takes the unbiased estimate; it depends
                 on where the origin lies
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import UnknownNameError
from oodml.shift.measure import Distance, Laws, Measure, check_sides, name_variant
from oodml.shift.moments import class_moments
from oodml.shift.pairs import (
    centred,
    quadratic_form,
    signed_weights,
    squared_distances,
    stack_sides,
)

Array = np.ndarray[Any, Any]
Form = Callable[[Array], float]

DEFAULTS = {"kernel": "rbf"}
_MEDIAN_CLASSES = 2048  # the median of more classes' distances is taken over so many of them


def mmd_measure(kernel: str = "rbf") -> Measure:
    """The measure with the kernel `rbf` or `polynomial`."""
    if kernel not in FORMS:
        raise UnknownNameError(f"{kernel!r} is not among the kernels of mmd: {', '.join(FORMS)}.")
    values, rbf = {"kernel": kernel}, kernel == "rbf"
    return Measure(
        name=name_variant("mmd", DEFAULTS, values),
        needs="means",
        laws=Laws(rotation="exact", translation=rbf, power=0 if rbf else None),
        between=partial(_between, form=FORMS[kernel]),
        on=partial(_on, form=FORMS[kernel]),
        parameters=values,
        variant=mmd_measure,
    )


def _between(x: Array, y: Array, *, form: Callable[[Array], Form]) -> float:
    _, one, other = stack_sides(x, y)
    points = np.concatenate([x, y])
    return form(points)(signed_weights(one, other, len(points)))


def _on(embeddings: EmbeddingSet, *, form: Callable[[Array], Form]) -> Distance:
    means = class_moments(embeddings).means
    fixed = form(means)

    def distance(x: Array, y: Array) -> float:
        check_sides(x, y)
        return fixed(signed_weights(x, y, len(means)))

    return distance


def _rbf_form(means: Array) -> Form:
    points = centred(means)
    bandwidth = median_distance(points)
    scale = -0.5 / (bandwidth * bandwidth) if bandwidth else 0.0
    # k - 1 in place of k: the same sum, as the weights add up to 0, without its rounding.
    return quadratic_form(points, lambda x, y: np.expm1(scale * squared_distances(x, y)))


def _polynomial_form(means: Array) -> Form:
    dimension = means.shape[1]
    return quadratic_form(
        means.astype(np.float64, copy=False), lambda x, y: (x @ y.T / dimension + 1) ** 3
    )


def median_distance(points: Array) -> float:
    """The median distance between points that differ, 0 where none do; points about their mean.

    Of more than 2,048 points, over 2,048 at even places in the order of their distance from the
    mean, which does not depend on the order of the classes.
    """
    if len(points) > _MEDIAN_CLASSES:
        order = np.argsort(np.einsum("ij,ij->i", points, points), kind="stable")
        points = points[order[np.linspace(0, len(order) - 1, _MEDIAN_CLASSES).astype(int)]]
    squares = squared_distances(points, points)[np.triu_indices(len(points), k=1)]
    apart = squares[squares > 0]
    return float(np.median(np.sqrt(apart))) if len(apart) else 0.0


FORMS = {"rbf": _rbf_form, "polynomial": _polynomial_form}
MMD = mmd_measure()
