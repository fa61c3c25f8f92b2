"""`Measure`: a distance between two sets of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from oodml.embed import EmbeddingSet

Array = np.ndarray[Any, Any]
Distance = Callable[[Array, Array], float]


@dataclass(frozen=True, slots=True)
class Laws:
    """What holds for a measure d; a test reads these declarations and tries them all.

    `rotation`: d does not change when both sides are turned together, `exact` or `statistical`;
    `translation`: nor when both are moved together; `power`: scaling both by s multiplies d by s **
    power (None: no such law). Every measure is symmetric, not negative, and 0 between a side and
    itself.
    """

    rotation: Literal["exact", "statistical"] = "exact"
    translation: bool = True
    power: float | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A named distance between two sets of classes.

    `measure(x, y)` is the short form on class means, `(n, d)` and `(m, d)`. `on(embeddings)` fixes
    whatever must be the same for all splits of one data set and gives the distance as a function of
    two arrays of class rows (indices into `embeddings.classes`).
    """

    name: str
    needs: Literal["means", "covariances", "samples"]
    laws: Laws
    between: Callable[[Array, Array], float]
    on: Callable[[EmbeddingSet], Distance]

    def __call__(self, x: Array, y: Array) -> float:
        return self.between(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
