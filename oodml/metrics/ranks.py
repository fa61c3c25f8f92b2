"""The ranks of the positives: all that recall@k, map@r and their kin need of a gallery.

The rank of a positive is one plus the others that are ahead of it, so no neighbour need be kept,
and no n x n matrix exists: queries pass in blocks, each against the whole gallery.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.errors import DataError
from oodml.store import frozen

if TYPE_CHECKING:
    import torch

TIE = 1e-6  # similarities that differ by no more are ties, settled against the positive
MOST_ROWS = 256  # a taller block makes the product no faster and falls out of the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The ranks of the positives of every scored query.

    `ranks[starts[i]:starts[i + 1]]` are the ranks of query i's positives in ascending order, with
    `starts` (q + 1,). `labels` (q,) are the queries' labels and `queries` (q,) their rows in the
    input; queries come sorted by label, then by row. `gallery` is the number of others that each
    query is compared with. The `excluded` images had no other image of their class and are no
    queries, though they stay in the gallery; `tied` queries have a negative within `TIE` of their
    best positive.
    """

    ranks: NDArray[np.int64]
    starts: NDArray[np.int64]
    labels: NDArray[Any]
    queries: NDArray[np.int64]
    gallery: int
    excluded: int = 0
    tied: int = 0

    def __post_init__(self) -> None:
        for name in ("ranks", "starts", "labels", "queries"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def positives(self) -> NDArray[np.int64]:
        """R (q,): how many positives each query has."""
        return np.diff(self.starts)


def rank_positives(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    similarity: str = "cosine",
    device: str = "cpu",
    budget_mb: float = 64,
) -> Ranks:
    """The `Ranks` of `vectors` (n, d) with `labels` (n,), each image a query among all the others.

        rank(p) = 1 + #{negatives with s >= s_p - 1e-6} + #{other positives ahead of p}

    The query itself is left out by its index, not by its similarity. Everything is float32. Beside
    a copy of the vectors and the result, the work takes `budget_mb` of memory, or as much as one
    query takes.
    """
    if similarity != "cosine":
        raise ValueError(f"similarity is {similarity!r}; expected 'cosine'.")
    given, names = np.asarray(vectors), _read_labels(labels)
    _check_shapes(given, names)
    values, groups, counts = np.unique(names, return_inverse=True, return_counts=True)
    # In the order of labels, a query's positives are columns side by side.
    order = np.argsort(groups, kind="stable")
    sizes = np.repeat(counts, counts)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    scored = np.flatnonzero(sizes > 1)
    if not len(scored):
        raise DataError(
            f"None of the {len(values)} classes has two images; retrieval needs one that has."
        )
    places = np.stack([scored, firsts[scored], sizes[scored]])
    starts = np.concatenate([[0], np.cumsum(sizes[scored] - 1)])
    ranks, tied = _rank_all(_unit_rows(given, order), places, starts, device, budget_mb)
    return Ranks(
        ranks=ranks,
        starts=starts,
        labels=names[order[scored]],
        queries=order[scored],
        gallery=len(given) - 1,
        excluded=len(given) - len(scored),
        tied=tied,
    )


# What comes in -----------------------------------------------------------------------------------


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


def _unit_rows(vectors: NDArray[Any], order: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows (n, d) in the given order, divided by their lengths: a copy, writable."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows float32 is reported below
        rows: NDArray[np.float32] = vectors[order].astype(np.float32, order="C", copy=False)
    _refuse(order[~np.isfinite(rows).all(axis=1)], len(rows), "hold NaN or Inf in float32")
    # In float64, because the squares of what fits float32 need not fit it.
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    _refuse(order[lengths == 0], len(rows), "are zero, which has no cosine")
    np.divide(rows, lengths[:, None], out=rows, casting="same_kind")
    return rows


def _refuse(rows: NDArray[np.int64], total: int, what: str) -> None:
    if len(rows):
        some = ", ".join(map(str, np.sort(rows)[:5])) + (", ..." if len(rows) > 5 else "")
        raise DataError(
            f"{len(rows)} of {total} vectors {what} (rows {some}); remove or mend them."
        )


# The kernel --------------------------------------------------------------------------------------


def _rank_all(
    rows: NDArray[np.float32],
    places: NDArray[np.int64],
    starts: NDArray[np.int64],
    device: str,
    budget_mb: float,
) -> tuple[NDArray[np.int64], int]:
    """The flat ranks and the number of tied queries, block after block.

    `places` (3, q) are each query's row, the first row of its class, and the size of its class.
    """
    import torch

    ranks = np.empty(starts[-1], dtype=np.int64)
    tied = 0
    # Of a query: its vector, its similarities, and eight numbers for each image of its class.
    bytes_each = 4 * sum(rows.shape) + 64 * int(places[2].max())
    height = min(MOST_ROWS, max(1, int(budget_mb * 2**20) // bytes_each))
    with _exact_products(torch.device(device).type):
        units, on_device = torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)
        for start in range(0, places.shape[1], height):
            stop = min(start + height, places.shape[1])
            block, ties = _rank_block(units, on_device[:, start:stop])
            ranks[starts[start] : starts[stop]] = block.cpu().numpy()
            tied += ties
    return ranks, tied


def _rank_block(units: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The flat ranks of the positives of b queries, and how many of these queries are tied.

    The positives' similarities are read from the same product as the negatives': one of another
    shape differs in its last bits, and would set equal images now ahead of each other, now behind.
    """
    import torch

    itself, first, size = places[:, :, None]  # each (b, 1)
    offsets = torch.arange(int(size.max()), device=units.device)  # (w,)
    # The columns of each query's class (b, w), filled up with the query itself.
    own = torch.where(offsets < size, first + offsets, itself)
    similarities = units[itself[:, 0]] @ units.T  # (b, n)
    positives = similarities.gather(1, own).masked_fill_(own == itself, -torch.inf)
    positives = positives.sort(dim=1, descending=True).values[:, :-1]
    negatives = _sort_rows(similarities.scatter_(1, own, -torch.inf))
    ahead = len(units) - torch.searchsorted(negatives, positives - TIE)
    above = len(units) - torch.searchsorted(negatives, positives[:, :1] + TIE, right=True)
    ranks = 1 + offsets[:-1] + ahead
    return ranks[offsets[:-1] < size - 1], int((ahead[:, :1] > above).sum())


def _sort_rows(block: torch.Tensor) -> torch.Tensor:
    """The block, every row ascending: a binary search then counts for any number of positives."""
    if block.device.type != "cpu":
        return block.sort(dim=1).values
    block.numpy().sort(axis=1)  # in place, with vector instructions: ten times as fast as torch's
    return block


@contextmanager
def _exact_products(device_type: str) -> Iterator[None]:
    """Products in full float32, though the caller may train under autocast, with TF32 or bf16."""
    import torch

    backends: Any = torch.backends
    products = backends.cuda.matmul if device_type == "cuda" else backends.mkldnn.matmul
    before = products.fp32_precision
    reduced = before not in ("none", "ieee")
    try:
        if reduced:  # else left alone: to write "none" back would not be to have written nothing
            products.fp32_precision = "ieee"
        with torch.inference_mode(), torch.autocast(device_type, enabled=False):
            yield
    finally:
        if reduced:
            products.fp32_precision = before
