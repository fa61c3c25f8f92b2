"""Queries in blocks, each block against the whole gallery.

For what tiles cannot give: ranks where classes are so large that those of all positives would not
fit in memory or sorting whole rows is faster, and how many classes are ahead of a positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oodml.metrics.counting import sort_rows
from oodml.metrics.pool import Pool
from oodml.metrics.tiles import products, tie_margin

if TYPE_CHECKING:
    import torch

MOST_ROWS = 256  # a taller block makes the product no faster
_UNDER_WAY = 16  # of such blocks, the memory between the steps counted in
_STRIP = 8192  # gallery images in one product


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """b queries and the g images of the gallery.

    `negatives` (b, g) are the similarities, -inf in the place of positives and of the query itself.
    `targets` (b, w) are the positives' less the margin of a tie, descending, then -inf; `counts`
    (b,) says how many are real. `highest` (b,) is the best positive's and the margin.
    """

    negatives: torch.Tensor
    targets: torch.Tensor
    highest: torch.Tensor
    counts: torch.Tensor


def query_blocks(pool: Pool, budget_mb: float) -> Iterator[range]:
    """The queries with positives, in blocks whose similarities take a part of the budget."""
    positives = pool.positives
    # Of a query: its similarities, and what is derived from each positive.
    bytes_each = 4 * pool.found + 64 * int(positives.max())
    height = min(MOST_ROWS, max(1, int(budget_mb * 2**20 / _UNDER_WAY) // bytes_each))
    scored = positives > 0
    for part in pool.parts[:2]:
        for low in range(part.start, part.stop, height):
            rows = range(low, min(low + height, part.stop))
            if scored[rows.start : rows.stop].any():
                yield rows


def compare(pool: Pool, rows: range, device: str) -> Row:
    """One block of queries against the gallery."""
    import torch

    similarity = torch.empty(len(rows), pool.found, device=device)
    at = 0
    for part in pool.parts[::2]:
        for low in range(part.start, part.stop, _STRIP):
            strip = range(low, min(low + _STRIP, part.stop))
            similarity[:, at : at + len(strip)] = products(pool, rows, strip, device)
            at += len(strip)
    own, mates = _own_columns(pool, rows)
    margin = tie_margin(pool, np.asarray(rows)[:, None], pool.images(own)).to(device)
    columns, others = torch.from_numpy(own).to(device), torch.from_numpy(~mates).to(device)
    mine = similarity.gather(1, columns)
    highest = (mine + margin).masked_fill_(others, -torch.inf).amax(dim=1)
    targets = sort_rows((mine - margin).masked_fill_(others, -torch.inf)).flip(1)
    negatives = similarity.scatter_(1, columns, -torch.inf)
    return Row(negatives, targets, highest, torch.from_numpy(mates.sum(axis=1)).to(device))


def _own_columns(pool: Pool, rows: range) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The gallery columns of each query's class (b, w), and which of them are its positives.

    Shorter lists are filled up with their last column, which is no positive a second time.
    """
    groups = pool.groups[rows.start : rows.stop]
    lists = []
    for part, before in zip(pool.parts[::2], (0, pool.both - pool.asking), strict=True):
        members = pool.groups[part.start : part.stop]
        low, high = (np.searchsorted(members, groups, side) for side in ("left", "right"))
        lists.append((low + part.start + before, high - low))
    (first, count), (second, more) = lists
    offsets = np.arange(int((count + more).max()))
    places = np.minimum(offsets, (count + more - 1)[:, None])
    own = np.where(
        places < count[:, None], first[:, None] + places, (second - count)[:, None] + places
    )
    mates = offsets < (count + more)[:, None]
    if rows.start < pool.both:
        mates &= own != np.asarray(rows)[:, None]
    return own.clip(0, pool.found - 1), mates


def ranks_of(row: Row) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The flat ranks of b queries' positives, how many each has, and which queries are tied.

    Uses up the row's negatives.
    """
    import torch

    negatives = sort_rows(row.negatives)
    width = negatives.shape[1]
    ahead = width - torch.searchsorted(negatives, row.targets)
    above = width - torch.searchsorted(negatives, row.highest[:, None], right=True)
    offsets = torch.arange(row.targets.shape[1], device=negatives.device)
    ranks = (1 + offsets + ahead)[offsets < row.counts[:, None]]
    tied = (row.counts > 0) & (ahead[:, 0] > above[:, 0])
    return ranks.cpu().numpy(), row.counts.cpu().numpy(), tied.cpu().numpy()


def classes_ahead(pool: Pool, row: Row, depth: int) -> NDArray[np.int32]:
    """How the negatives ahead of the best positive spread over classes, (b, depth).

    Column 0: how many classes have one; column j: how many have exactly j.
    """
    ahead = (row.negatives >= row.targets[:, :1]).cpu().numpy()
    queries, columns = np.nonzero(ahead)
    groups: NDArray[Any] = pool.groups[pool.images(columns)]
    classes = len(pool.names)
    keys, images = np.unique(queries * classes + groups, return_counts=True)
    cells = keys // classes * (depth + 1) + np.minimum(images, depth)
    spread = np.bincount(cells, minlength=len(ahead) * (depth + 1)).reshape(len(ahead), depth + 1)
    spread[:, 0] = spread.sum(axis=1)
    return spread[:, :depth].astype(np.int32)
