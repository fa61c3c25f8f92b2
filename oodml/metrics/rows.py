"""The rows of a set of vectors, block after block: lengths, and rows of length 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from oodml.errors import DataError

BLOCK_BYTES = 8 << 20  # of float64 rows held at a time


def row_lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The Euclidean length of every row (n,)."""
    lengths = np.empty(len(vectors))
    for at in row_blocks(vectors):
        rows = vectors[at].astype(np.float64)  # the squares of what fits float32 need not fit it
        lengths[at] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths


def unit_lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The lengths (n,) that rows are divided by; a `DataError` where one of them is zero."""
    lengths = row_lengths(vectors)
    refuse_rows(np.flatnonzero(lengths == 0), len(lengths), "are zero, which has no direction")
    return lengths


def refuse_rows(rows: NDArray[np.int64], total: int, what: str) -> None:
    """A `DataError` that names the first of these rows, if there are any."""
    if len(rows):
        some = ", ".join(map(str, np.sort(rows)[:5])) + (", ..." if len(rows) > 5 else "")
        raise DataError(
            f"{len(rows)} of {total} vectors {what} (rows {some}); remove or mend them."
        )


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows (n, d) divided by their lengths: a copy in float32."""
    lengths = unit_lengths(vectors)
    rows = np.empty(vectors.shape, np.float32)
    for at in row_blocks(vectors):
        np.divide(vectors[at], lengths[at, None], out=rows[at], casting="same_kind")
    return rows


def unit_blocks(
    vectors: NDArray[np.float32], lengths: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """The rows divided by their `lengths` (n,), in float64: the place of each block, and it."""
    for at in row_blocks(vectors):
        yield at, vectors[at] / lengths[at, None]


def row_blocks(vectors: NDArray[np.float32]) -> Iterator[slice]:
    """Slices over all rows, of `BLOCK_BYTES` in float64 or of one row each."""
    height = max(1, BLOCK_BYTES // (8 * max(1, vectors.shape[1])))
    for start in range(0, len(vectors), height):
        yield slice(start, min(start + height, len(vectors)))
