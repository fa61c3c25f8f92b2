"""Counting the negatives ahead of every positive, tile by tile.

The rank of a positive needs no sorted neighbours, only the number of negatives that are at least as
similar to the query. Similarity is symmetric, so one tile of products counts for the queries of its
rows and for those of its columns, and half of all tiles suffice. Counts add up over tiles, in any
order and in any process; the grid of tiles is fixed by the images and the kind of device, so that
whoever computes a tile gets the same bits.

The positives' similarities come from products of another shape, which may differ in the last bits;
therefore a tile counts negatives only, and the margin of a tie (1e-6) is wider than that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oodml.metrics.counting import Counter, Thresholds, sort_rows
from oodml.metrics.device import exact_arithmetic, in_threads
from oodml.metrics.pool import Pool

if TYPE_CHECKING:
    import torch

TIE = 1e-6  # similarities that differ by no more are ties, settled against the positive
EDGE, DEVICE_EDGE = 1024, 8192  # rows and columns of a tile: larger makes the product no faster
_CHUNK = 512  # images whose positives are compared at a time
Pair = tuple[range, range, bool]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What negatives are compared with.

    The values of image i are `values[starts[i]:starts[i + 1]]`, descending: first its best
    positive's similarity and 1e-6 more, then each positive's less 1e-6. Images that are no queries,
    or have no positive, have none; `starts` is (n + 1,).
    """

    values: NDArray[np.float32]
    starts: NDArray[np.int64]


# The positives -----------------------------------------------------------------------------------


def find_targets(pool: Pool, device: str) -> Targets:
    """The thresholds of all queries, from the products of each class with itself."""
    positives = pool.positives
    lengths = np.where(positives > 0, positives + 1, 0)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    values = np.empty(starts[-1], np.float32)

    def fill(chunk: tuple[range, list[range]]) -> None:
        rows, gallery = chunk
        with exact_arithmetic(device):
            found = _targets_of(pool, rows, gallery, device)
        values[starts[rows.start] : starts[rows.stop]] = found

    for _ in in_threads(fill, _chunks(pool), device):
        pass
    full = np.concatenate([starts, np.full(len(pool.order) - pool.asking, starts[-1])])
    return Targets(values, full)


def _chunks(pool: Pool) -> Iterator[tuple[range, list[range]]]:
    """Some queries, and the parts of the gallery that hold their classes."""
    for first, last in _class_chunks(pool):
        gallery = [pool.of_classes(part, first, last) for part in pool.parts[::2]]
        for part in pool.parts[:2]:
            asking = pool.of_classes(part, first, last)
            for low in range(asking.start, asking.stop, _CHUNK):
                yield range(low, min(low + _CHUNK, asking.stop)), [g for g in gallery if len(g)]


def _class_chunks(pool: Pool) -> Iterator[tuple[int, int]]:
    """Ranges of classes with about `_CHUNK` images together, or of one larger class."""
    ends = np.cumsum(np.bincount(pool.groups, minlength=len(pool.names)))
    first, before = 0, 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
        yield first, last
        first, before = last, int(ends[last - 1])


def _targets_of(pool: Pool, rows: range, gallery: list[range], device: str) -> NDArray[np.float32]:
    """The thresholds of some queries, of whose positives the gallery's images are a superset."""
    import torch

    if not gallery:
        return np.zeros(0, np.float32)
    columns = torch.cat([torch.arange(part.start, part.stop) for part in gallery])
    similarity = torch.cat([products(pool, rows, part, device) for part in gallery], dim=1)
    groups = torch.from_numpy(pool.groups)
    mates = (groups[rows.start : rows.stop, None] == groups[columns]) & (
        torch.arange(rows.start, rows.stop)[:, None] != columns
    )
    counts = mates.sum(dim=1)
    width = int(counts.max()) if len(counts) else 0
    margin = tie_margin(pool, np.asarray(rows)[:, None], columns.numpy()[None]).to(device)
    others = ~mates.to(device)
    highest = (similarity + margin).masked_fill_(others, -torch.inf).amax(dim=1, keepdim=True)
    lowered = (similarity - margin).masked_fill_(others, -torch.inf)
    lowered = sort_rows(lowered)[:, lowered.shape[1] - width :].flip(1)
    above = torch.nextafter(highest, torch.full_like(highest, torch.inf))
    every = torch.cat([above, lowered], dim=1).cpu()
    real = torch.arange(width + 1) < torch.where(counts > 0, counts + 1, 0)[:, None]
    return np.asarray(every[real].numpy())


def tie_margin(pool: Pool, rows: NDArray[Any], columns: NDArray[Any]) -> torch.Tensor:
    """By how much the similarities of images may differ and still be ties; shapes broadcast."""
    import torch

    sizes, halves = pool.rows.sizes, pool.rows.halves
    if pool.rows.similarity == "cosine":
        scale = np.ones((1, 1), np.float32)
    elif halves is None:
        scale = sizes[rows] * sizes[columns]
    else:
        scale = halves[rows] + halves[columns]
    return torch.from_numpy(np.float32(TIE) * scale)


def products(
    pool: Pool, rows: range, columns: range, device: str, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The similarities of two ranges of the pool's images, (r, c) float32."""
    import torch

    x, y = (
        torch.from_numpy(pool.rows.block(part.start, part.stop)).to(device)
        for part in (rows, columns)
    )
    tile = torch.mm(x, y.T, out=out)
    if (halves := pool.rows.halves) is not None:
        tile -= torch.from_numpy(halves[rows.start : rows.stop, None]).to(device)
        tile -= torch.from_numpy(halves[None, columns.start : columns.stop]).to(device)
    return tile


# The tiles ---------------------------------------------------------------------------------------


def tile_pairs(pool: Pool, edge: int) -> list[Pair]:
    """Row blocks, column blocks, and whether the tile counts for its columns too."""
    blocks = [[part[low : low + edge] for low in range(0, len(part), edge)] for part in pool.parts]
    both, asking, found = blocks
    mirrored = [(x, y, x != y) for i, x in enumerate(both) for y in both[i:]]
    plain = [(x, y, False) for x in both for y in found]
    plain += [(x, y, False) for x in asking for y in [*both, *found]]
    return mirrored + plain


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts tiles of one pool; `counts` are as long as the targets' values.

    With `reach` (n,), the largest rank of each image that matters, `open` (n,) are the numbers of
    its values that are still counted: of each positive until its rank is known to be beyond, and of
    the best one to the end. Few positives are near, so that after some tiles there are few left.
    """

    pool: Pool
    targets: Targets
    counter: Counter
    device: str
    counts: NDArray[np.int32]
    reach: NDArray[np.int64] | None = None
    open: NDArray[np.int64] = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)
    buffers: threading.local = field(default_factory=threading.local)

    def __post_init__(self) -> None:
        object.__setattr__(self, "open", np.diff(self.targets.starts))

    def add(self, pair: Pair) -> None:
        rows, columns, mirrored = pair
        chosen = [self._choose(part) for part in ((rows, columns) if mirrored else (rows,))]
        with exact_arithmetic(self.device):
            tile = products(self.pool, rows, columns, self.device, self._buffer(rows, columns))
            self._hide_positives(tile, rows, columns)
            across, *down = map(self._thresholds, chosen)
            found = self.counter.count(tile, across, down[0] if down else None)
        with self.lock:
            for choice, counts in zip(chosen, found, strict=False):
                assert counts is not None
                self.counts[choice.at] += counts.cpu().numpy()
                if self.reach is not None:
                    self._close(choice)

    def _buffer(self, rows: range, columns: range) -> torch.Tensor:
        """Room for a tile, kept by each thread: to ask for it anew costs a tenth of the product."""
        import torch

        size = len(rows) * len(columns)
        kept: torch.Tensor | None = getattr(self.buffers, "tile", None)
        if kept is None or len(kept) < size:
            kept = self.buffers.tile = torch.empty(size, device=self.device)
        return kept[:size].view(len(rows), len(columns))

    def _hide_positives(self, tile: torch.Tensor, rows: range, columns: range) -> None:
        """Only negatives count; a block is sorted by class, so most pairs of blocks share none."""
        import torch

        x, y = (self.pool.groups[part.start : part.stop] for part in (rows, columns))
        if x[0] <= y[-1] and y[0] <= x[-1]:
            left, right = (torch.from_numpy(part).to(self.device) for part in (x, y))
            tile.masked_fill_(left[:, None] == right, -torch.inf)

    def _choose(self, part: range) -> _Choice:
        starts = self.targets.starts
        if self.reach is None:
            at = slice(int(starts[part.start]), int(starts[part.stop]))
            return _Choice(part, at, starts[part.start : part.stop + 1] - at.start)
        lengths = self.open[part.start : part.stop].copy()
        ends = np.cumsum(lengths)
        first = starts[part.start : part.stop] - ends + lengths
        return _Choice(
            part, np.repeat(first, lengths) + np.arange(ends[-1]), np.concatenate([[0], ends])
        )

    def _thresholds(self, choice: _Choice) -> Thresholds:
        import torch

        values = torch.from_numpy(self.targets.values[choice.at]).to(self.device)
        return values, torch.from_numpy(choice.starts).to(self.device)

    def _close(self, choice: _Choice) -> None:
        """Count no further from where a rank is known to be beyond reach: those after it are too.

        A value's number is its place among the positives, from 1, which is what its rank is if no
        negative is ahead; number 0 and the best positive stay.
        """
        part, (images,) = choice.part, np.nonzero(np.diff(choice.starts))
        if self.reach is None or not len(images):
            return
        lengths, begins = np.diff(choice.starts)[images], choice.starts[:-1][images]
        number = np.arange(choice.starts[-1]) - np.repeat(begins, lengths)
        reach = np.repeat(self.reach[part.start + images], lengths)
        beyond = (self.counts[choice.at] + number > reach) & (number > 1)
        kept = np.minimum.reduceat(np.where(beyond, number, np.repeat(lengths, lengths)), begins)
        self.open[part.start + images] = np.minimum(self.open[part.start + images], kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Which values of a range of images are counted: their places, and where each image's begin."""

    part: range
    at: slice | NDArray[np.int64]
    starts: NDArray[np.int64]
