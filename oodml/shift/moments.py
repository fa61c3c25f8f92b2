"""`ClassMoments`: how many images each class has, and their mean."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import DataError
from oodml.store import frozen

Array = np.ndarray[Any, Any]

# Means that would take more bytes than this in float64 are kept in float32 in a file.
MAPPED = 1 << 30
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class ClassMoments:
    """`counts` (c,) and `means` (c, d) of the classes, a row each.

    The means are float64; float32 ones stay as they are, so that they need not be in memory.
    """

    classes: tuple[str, ...]
    counts: Array
    means: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", frozen(np.asarray(self.counts, dtype=np.int64)))
        means = np.asarray(self.means)
        dtype = np.float32 if means.dtype == np.float32 else np.float64
        object.__setattr__(self, "means", frozen(means.astype(dtype, copy=False)))

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
        centred = self.means - self.means.mean(axis=0, dtype=np.float64)
        return frozen(centred @ centred.T)


def class_moments(embeddings: EmbeddingSet) -> ClassMoments:
    """The moments of every class of an embedding set, accumulated in float64.

    Means of more than `MAPPED` bytes become float32, each off by at most 6e-8 of itself: the
    vectors themselves where every class is one float32 vector, in order, else a temporary file
    that is mapped into memory and gone with the last reference.
    """
    order = np.argsort(embeddings.labels, kind="stable")
    counts = np.bincount(embeddings.labels, minlength=len(embeddings.classes))
    shape = (len(counts), embeddings.vectors.shape[1])
    mapped = shape[0] * shape[1] * 8 > MAPPED
    if mapped and embeddings.vectors.dtype == np.float32 and _one_each(embeddings.labels, counts):
        return ClassMoments(embeddings.classes, counts, embeddings.vectors)
    means = _mapped(shape) if mapped else np.empty(shape)
    end = 0
    for row, count in enumerate(counts):
        start, end = end, end + int(count)
        means[row] = embeddings.vectors[order[start:end]].mean(axis=0, dtype=np.float64)
    return ClassMoments(embeddings.classes, counts, means)


def _one_each(labels: Array, counts: Array) -> bool:
    return len(labels) == len(counts) and bool((labels == np.arange(len(labels))).all())


def _mapped(shape: tuple[int, int]) -> Array:
    """Room for float32 numbers in a file without a name, which the system frees after use."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


# Rows in blocks, so that no copy is as large as all means ----------------------------------------


def in_blocks(rows: Array, size: int | None = None) -> Iterator[Array]:
    """An array of row numbers, some at a time."""
    size = size or _ROWS_AT_ONCE
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def mean_of_rows(means: Array, rows: Array) -> Array:
    """The mean `(d,)` of some rows, in float64."""
    total = np.zeros(means.shape[1])
    for block in in_blocks(rows):
        total += means[block].sum(axis=0, dtype=np.float64)
    mean: Array = total / len(rows)
    return mean
