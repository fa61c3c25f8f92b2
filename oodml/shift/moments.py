"""`ClassMoments`: how many images each class has, and their mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import DataError
from oodml.store import frozen

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMoments:
    """`counts` (c,) and `means` (c, d) float64 of the classes, a row each."""

    classes: tuple[str, ...]
    counts: Array
    means: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", frozen(np.asarray(self.counts, dtype=np.int64)))
        object.__setattr__(self, "means", frozen(np.asarray(self.means, dtype=np.float64)))

    def rows(self, classes: Iterable[str]) -> Array:
        """The row numbers of classes, in the order given."""
        index = {name: row for row, name in enumerate(self.classes)}
        wanted = list(classes)
        if missing := [name for name in wanted if name not in index]:
            raise DataError(
                f"{len(missing)} of {len(wanted)} classes are not in the data, such as "
                f"{missing[0]!r}; "
                "use the data set that the split was made for."
            )
        return np.array([index[name] for name in wanted], dtype=np.int64)

    def gram(self) -> Array:
        """The Gram matrix `(c, c)` of the class means about their common mean."""
        centred = self.means - self.means.mean(axis=0)
        return frozen(centred @ centred.T)


def class_moments(embeddings: EmbeddingSet) -> ClassMoments:
    """The moments of every class of an embedding set, accumulated in float64."""
    order = np.argsort(embeddings.labels, kind="stable")
    counts = np.bincount(embeddings.labels, minlength=len(embeddings.classes))
    means = np.empty((len(counts), embeddings.vectors.shape[1]))
    end = 0
    for row, count in enumerate(counts):
        start, end = end, end + int(count)
        means[row] = embeddings.vectors[order[start:end]].mean(axis=0, dtype=np.float64)
    return ClassMoments(embeddings.classes, counts, means)
