"""The images that take part in retrieval: checked, put in order, and read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.errors import DataError
from oodml.metrics.rows import refuse_rows

SIMILARITIES = ("cosine", "dot", "euclidean")
_SAMPLE = 4096  # rows that the centre is taken from
_SHORTEST = 1e-15  # relative to the longest: its square is still exact in float32
_BLOCK = 8192  # rows that are checked at a time


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Images in the order of retrieval, `n` in all.

    First come those that are both query and gallery image, then those that only ask, then those
    that are only found; each part is sorted by class, then by row of the input. `order` (n,) are
    the rows of the input, `groups` (n,) the numbers of the classes, whose labels are `names` (c,).
    `class_sizes` (c,) are the gallery images of each class, `positives` (asking,) those of each
    asking image's class but itself.
    """

    rows: Rows
    order: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: NDArray[Any]
    both: int
    asking: int
    class_sizes: NDArray[np.int64]
    positives: NDArray[np.int64]

    @property
    def parts(self) -> tuple[range, range, range]:
        """Those that ask and are found, those that only ask, those that are only found."""
        return (
            range(self.both),
            range(self.both, self.asking),
            range(self.asking, len(self.order)),
        )

    @property
    def found(self) -> int:
        """The size of the gallery."""
        return len(self.order) - (self.asking - self.both)

    @property
    def others(self) -> NDArray[np.int64]:
        """How many gallery images each asking image is compared with, (asking,)."""
        return self.found - (np.arange(self.asking) < self.both).astype(np.int64)

    def of_classes(self, part: range, first: int, last: int) -> range:
        """The images of a part whose class is one of `first` to `last - 1`."""
        groups = self.groups[part.start : part.stop]
        low, high = np.searchsorted(groups, [first, last])
        return part[int(low) : int(high)]

    def images(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images in some columns of the gallery: those that ask too come first."""
        return np.where(columns < self.both, columns, columns + self.asking - self.both)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The vectors as they are multiplied: `block(start, stop)` is `(stop - start, d)` float32.

    Cosine: divided by their lengths. Dot product: divided by one power of two, so that none
    overflows. Euclidean: taken from their median, then the same; `halves` (n,) are then half the
    squared lengths, and x.y - half_x - half_y is minus half the squared distance. Prepared once
    where a copy fits the budget, else whenever a block is read. `sizes` (n,) is the scale of
    rounding: similarities of x and y within 1e-6 sizes_x sizes_y are ties (Euclidean: within
    1e-6 (half_x + half_y)).
    """

    vectors: NDArray[Any]
    order: NDArray[np.int64]
    similarity: str
    centre: NDArray[np.float64] | None
    divisors: NDArray[np.float64]
    sizes: NDArray[np.float32]
    halves: NDArray[np.float32] | None
    prepared: NDArray[np.float32] | None = None

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        if self.prepared is not None:
            return self.prepared[start:stop]
        return self._read(start, stop)

    def copied(self) -> Rows:
        """The same rows, prepared once and for all."""
        return replace(self, prepared=self._read(0, len(self.order)))

    def _read(self, start: int, stop: int) -> NDArray[np.float32]:
        import torch

        # As torch lays it out: the last bits of a product may depend on where in memory it starts.
        out: NDArray[np.float32] = torch.empty(stop - start, self.vectors.shape[1]).numpy()
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            rows = self.vectors[self.order[first:last]].astype(np.float32, copy=False)
            moved = rows if self.centre is None else rows - self.centre
            part, divisors = out[first - start : last - start], self.divisors[first:last, None]
            np.divide(moved, divisors, out=part, casting="same_kind")
        return out


def make_pool(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    gallery: ArrayLike | None = None,
    similarity: str = "cosine",
    budget_mb: float = 512,
) -> Pool:
    """The images of `vectors` (n, d) with `labels` (n,), of which `queries` ask in the `gallery`.

    Both are masks (n,); by default every image is both. Raises `DataError` where labels and vectors
    do not pair up, or rows hold NaN or Inf, or are zero under cosine.
    """
    given, tags = _read(vectors, labels)
    asks, found = (read_mask(mask, len(tags)) for mask in (queries, gallery))
    names, groups = np.unique(tags, return_inverse=True)
    if not asks.any() or not found.any():
        raise DataError("There are no queries or no gallery; expected at least one image in each.")
    part = np.select([asks & found, asks, found], [0, 1, 2], 3)
    # In the order of labels, the images of a class lie side by side.
    order = np.lexsort((np.arange(len(tags)), groups, part))[: int((asks | found).sum())]
    both, asking = (int(np.count_nonzero(mask)) for mask in (asks & found, asks))
    rows = _make_rows(given, order, similarity)
    if rows.order.size * given.shape[1] * 4 <= budget_mb * 2**20:
        rows = rows.copied()
    groups = groups[order]
    class_sizes = np.bincount(np.delete(groups, np.s_[both:asking]), minlength=len(names))
    positives = class_sizes[groups[:asking]]
    positives[:both] -= 1
    return Pool(rows, order, groups, names, both, asking, class_sizes, positives)


# What comes in -----------------------------------------------------------------------------------


def check_images(vectors: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors (n, d) and labels (n,) as arrays; `DataError` where they do not pair up.

    Or where a row holds NaN or Inf.
    """
    given, tags = _read(vectors, labels)
    _refuse_infinite(_lengths(given, np.arange(len(given)), None), np.arange(len(given)))
    return given, tags


def _read(vectors: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    given, tags = np.asarray(vectors), _read_labels(labels)
    _check_shapes(given, tags)
    return given, tags


def _read_labels(labels: ArrayLike) -> NDArray[Any]:
    names = np.asarray(labels)
    if names.dtype == object and len({type(name) for name in names.ravel()}) == 1:
        names = np.array(names.tolist())  # as pandas holds strings
    if names.dtype.kind not in "biuUST":
        raise DataError(f"Labels are of type {names.dtype}; expected integers or strings.")
    return names


def _check_shapes(vectors: NDArray[Any], labels: NDArray[Any]) -> None:
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise DataError(
            f"Vectors are {vectors.dtype} of shape {vectors.shape}; "
            "expected numbers of shape (images, dimensions)."
        )
    if labels.shape != (len(vectors),):
        raise DataError(
            f"There are {len(vectors)} vectors but labels of shape {labels.shape}; "
            "expected one label for each vector."
        )
    if len(vectors) < 2:
        raise DataError(f"Retrieval needs at least 2 images; there are {len(vectors)}.")


def read_mask(mask: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    """A mask of `count` images; all of them where none is given."""
    if mask is None:
        return np.ones(count, dtype=bool)
    chosen = np.asarray(mask)
    if chosen.dtype != bool or chosen.shape != (count,):
        raise DataError(
            f"A mask of queries or gallery is {chosen.dtype} of shape {chosen.shape}; expected "
            f"{count} booleans, one for each vector."
        )
    return chosen


def _make_rows(vectors: NDArray[Any], order: NDArray[np.int64], similarity: str) -> Rows:
    """The vectors with what is needed to prepare any block of them, in two passes at most."""
    lengths = _lengths(vectors, order, None)
    _refuse_infinite(lengths, order)
    centre = None
    if similarity == "cosine":
        refuse_rows(order[lengths == 0], len(order), "are zero, which has no cosine")
        sizes = np.ones(len(order), np.float32)
        return Rows(vectors, order, similarity, None, lengths, sizes, None)
    if similarity == "euclidean":
        # The median, which no outlier moves; far from it, float32 would lose digits.
        some = vectors[order[:: max(1, len(order) // _SAMPLE)]].astype(np.float32)
        centre = np.median(some.astype(np.float64), axis=0)
        lengths = _lengths(vectors, order, centre)
    # A power of two changes no digit, so that ranks do not depend on the unit of length.
    unit = 2.0 ** np.ceil(np.log2(lengths.max())) if lengths.any() else 1.0
    scaled = (lengths / unit).astype(np.float32)
    if ((lengths > 0) & (scaled < _SHORTEST)).any():
        raise DataError(
            f"Lengths of vectors go from {lengths[lengths > 0].min():.3g} to {lengths.max():.3g}, "
            "more than float32 can compare; mend them, or use cosine."
        )
    halves = scaled * scaled / np.float32(2) if similarity == "euclidean" else None
    return Rows(vectors, order, similarity, centre, np.full(len(order), unit), scaled, halves)


def _refuse_infinite(lengths: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
    refuse_rows(rows[~np.isfinite(lengths)], len(rows), "hold NaN or Inf in float32")


def _blocks(vectors: NDArray[Any], order: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(order), _BLOCK):
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows float32 is reported
            yield vectors[order[start : start + _BLOCK]].astype(np.float32, copy=False)


def _lengths(
    vectors: NDArray[Any], order: NDArray[np.int64], centre: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The lengths of the rows from the centre, (n,); not finite where a row is not.

    In float64, because the squares of what fits float32 need not fit it.
    """
    lengths = np.empty(len(order))
    start = 0
    for block in _blocks(vectors, order):
        rows = block if centre is None else block - centre
        at = slice(start, start := start + len(block))
        lengths[at] = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return lengths
