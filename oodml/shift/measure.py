"""`Measure`: a distance between two sets of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.embed.embeddings import check_finite
from oodml.shift.moments import ClassMoments

Array = np.ndarray[Any, Any]
Distance = Callable[[Array, Array], float]
FEWEST_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Laws:
    """What holds for a measure d; a test reads these declarations and tries them all.

    `rotation`: d does not change when both sides are turned together: `exact`, or `statistical`
    where it is an average over seeded random directions (None: no such law); `translation`: nor
    when both are moved together; `power`: scaling both by s multiplies d by s ** power (None: no
    such law). Every measure is symmetric, not negative, 0 between a side and itself, and the same
    for any order of the classes.
    """

    rotation: Literal["exact", "statistical"] | None = "exact"
    translation: bool = True
    power: float | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A named distance between two sets of classes.

    `measure(x, y)` is the short form on class means, `(n, d)` and `(m, d)`. `on(embeddings)` fixes
    whatever must be the same for all splits of one data set and gives the distance as a function of
    two arrays of class rows (indices into `embeddings.classes`). `needs` says what it reads of a
    class: its mean, its mean and covariance, or all its images; in the short form every class is
    one image. `on_means`, where there is one, is `on` for class means at hand. `parameters` are the
    values in use, and `variant(**parameters)` is the same measure with others.
    """

    name: str
    needs: Literal["means", "covariances", "samples"]
    laws: Laws
    between: Callable[[Array, Array], float]
    on: Callable[[EmbeddingSet], Distance]
    on_means: Callable[[ClassMoments], Distance] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    variant: Callable[..., Measure] | None = None

    def __call__(self, x: Array, y: Array) -> float:
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not x.shape[1]:
            raise ValueError(
                f"Sides of shapes {x.shape} and {y.shape}; expected (n, d) and (m, d)."
            )
        check_sides(x, y)
        check_finite(f"{self.name}, first side", x)
        check_finite(f"{self.name}, second side", y)
        return self.between(x, y)


def check_sides(x: Array, y: Array) -> None:
    """Raise `ValueError` where a side has fewer than two classes."""
    if min(len(x), len(y)) < FEWEST_CLASSES:
        raise ValueError(
            f"Sides of {len(x)} and {len(y)} classes; a measure needs at least {FEWEST_CLASSES} on "
            "each."
        )


def name_variant(key: str, defaults: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The one spelling of a name with parameters: those that differ from the defaults, sorted.

    >>> name_variant("transport", {"diagonal": False}, {"diagonal": True})
    'transport?diagonal=1'
    """
    changed = sorted(key for key in values if values[key] != defaults[key])
    pairs = (f"{k}={int(v) if isinstance(v := values[k], bool) else v}" for k in changed)
    return key + "?" * bool(changed) + "&".join(pairs)
