"""The ranks of the positives: all that recall@k, map@r and their kin need of a gallery.

The rank of a positive is one plus the others that are ahead of it, so no neighbour need be kept,
and no n x n matrix exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.errors import DataError
from oodml.metrics import wide
from oodml.metrics.counting import ENGINES, find_counter
from oodml.metrics.device import check_device, exact_arithmetic, in_threads
from oodml.metrics.pool import SIMILARITIES, Pool, make_pool
from oodml.metrics.tiles import DEVICE_EDGE, EDGE, TIE, Tally, find_targets, tile_pairs
from oodml.store import array_digest, frozen

Progress = Callable[[int, int], None]
Reach = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
BUDGET_MB = 512
# Above so many positives a query, sorting its whole row once is faster than counting in tiles.
MANY_POSITIVES = 256
_SAMPLE = 1000
_BYTES_EACH = 32  # of a positive: threshold, count, rank, and what is in between
_COUNT_BYTES = 8  # threshold and count alone
_BLOCK = 1 << 20  # positives whose ranks are made at a time, where nobody needs all of them

__all__ = [
    "TIE",
    "PartialRanks",
    "Ranks",
    "Settings",
    "rank_positives",
    "rank_shard",
    "rank_stream",
]


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The ranks of the positives of every scored query.

    `ranks[starts[i]:starts[i + 1]]` are the ranks of query i's positives in ascending order, with
    `starts` (q + 1,). `labels` (q,) are the queries' labels and `queries` (q,) their rows in the
    input, sorted by label, then by row (first those that are in the gallery too). `gallery` (q,)
    are the numbers of others that they are compared with; `tied` (q,) says which have a negative
    within `TIE` of their best positive. `classes_ahead` (q, depth), where asked for, says how many
    classes have a negative ahead of the best positive (column 0) and how many have exactly j
    (column j). Of the gallery, `class_sizes` (c,) are the images of each class. `excluded` further
    queries had no other image of their class; they stay in the gallery.
    """

    ranks: NDArray[np.int64]
    starts: NDArray[np.int64]
    labels: NDArray[Any]
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    tied: NDArray[np.bool_]
    class_sizes: NDArray[np.int64]
    excluded: int = 0
    classes_ahead: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for name in ("ranks", "starts", "labels", "queries", "gallery", "tied", "class_sizes"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if self.classes_ahead is not None:
            object.__setattr__(self, "classes_ahead", frozen(self.classes_ahead))

    @property
    def positives(self) -> NDArray[np.int64]:
        """R (q,): how many positives each query has."""
        return np.diff(self.starts)

    @classmethod
    def merge(cls, parts: Sequence[PartialRanks]) -> Ranks:
        """The ranks of all shards of one `rank_shard`, in any order.

        Equal to the single pass bit for bit, since every tile is computed by exactly one shard.
        """
        if not parts:
            raise ValueError("There are no shards to be merged; expected at least one.")
        first, given = parts[0], sorted(part.shard for part in parts)
        same = all(part.identity() == first.identity() for part in parts)
        if given != list(range(first.shards)) or not same:
            raise DataError(
                f"Shards {given} of {first.shards} were given; expected each once, all of the same "
                "images, vectors, similarity and kind of device."
            )
        counts = np.sum([part.counts for part in parts], axis=0, dtype=np.int64)
        return first.ranks(np.asarray(counts))


@dataclass(frozen=True, slots=True, eq=False)
class PartialRanks:
    """What one shard of the tiles has counted; `Ranks.merge` adds the shards up.

    `counts` hold, query after query, the negatives more than a tie ahead of its best positive, then
    those ahead of each positive.
    """

    shard: int
    shards: int
    edge: int
    counts: NDArray[np.int32]
    starts: NDArray[np.int64]
    pool: Pool

    def identity(self) -> tuple[Any, ...]:
        """What the shards of one work have in common: some vectors stand for all."""
        pool = self.pool
        some = pool.rows.vectors[pool.order[:: max(1, len(pool.order) // _SAMPLE)]]
        facts = (self.starts, pool.order, pool.groups, some)
        return (self.shards, self.edge, pool.rows.similarity, pool.found, *map(array_digest, facts))

    def ranks(self, counts: NDArray[np.int64]) -> Ranks:
        """The ranks that these counts, of all shards together, make."""
        return self._ranks(counts, range(self.pool.asking))

    def blocks(self, reach: NDArray[np.int64] | None, size: int) -> Iterator[Ranks]:
        """The ranks of this one shard, of about `size` positives at a time.

        Those beyond `reach` (asking,), which were not counted to the end, become the number of
        others.
        """
        ends = np.cumsum(self.pool.positives)
        first = 0
        while first < len(ends):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + size, side="right")))
            rows = range(first, last)
            if ends[last - 1] > before:
                counts = self.counts[self.starts[first] : self.starts[last]].astype(np.int64)
                ranks = self._ranks(counts, rows)
                has = self.pool.positives[first:last] > 0
                yield ranks if reach is None else _cut(ranks, reach[first:last][has])
            first = last

    def _ranks(self, counts: NDArray[np.int64], rows: range) -> Ranks:
        """The ranks of a range of queries, whose counts these are."""
        starts = self.starts[rows.start : rows.stop + 1] - self.starts[rows.start]
        begins = starts[:-1][np.diff(starts) > 0]  # where the counts of a query begin
        lengths = np.diff(starts)[np.diff(starts) > 0] - 1
        ends = np.cumsum(lengths)
        place = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        ranks = 1 + place + np.delete(counts, begins)
        tied = counts[begins] < counts[begins + 1]
        return _make_ranks(self.pool, rows, ranks, lengths, tied)


def _cut(ranks: Ranks, reach: NDArray[np.int64]) -> Ranks:
    """Ranks beyond reach (q,), but the best positive's, become the number of others."""
    limits, others = (np.repeat(part, ranks.positives) for part in (reach, ranks.gallery))
    beyond = ranks.ranks > limits
    beyond[ranks.starts[:-1]] = False
    return replace(ranks, ranks=np.where(beyond, others, ranks.ranks))


@dataclass(frozen=True, slots=True)
class Settings:
    """How retrieval is computed; only `similarity` changes what is computed.

    `similarity`: cosine, dot or euclidean. `device`: a torch device. `budget_mb`: of memory beyond
    the inputs, or as much as a few tiles take. `engine`: what counts on the CPU, `torch` or
    `numba`; by default numba for large sets where it is installed. `progress(done, total)` is
    called now and then.
    """

    similarity: str = "cosine"
    device: str = "cpu"
    budget_mb: float = BUDGET_MB
    engine: str = "auto"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {self.similarity!r}; expected one of {SIMILARITIES}.")
        if self.engine not in ENGINES:
            raise ValueError(f"engine is {self.engine!r}; expected one of {ENGINES}.")
        if not self.budget_mb >= 0:
            raise ValueError(f"budget_mb is {self.budget_mb}; expected a number of at least 0.")


def rank_positives(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    gallery: ArrayLike | None = None,
    depth: int = 0,
    **settings: Any,
) -> Ranks:
    """The `Ranks` of `vectors` (n, d) with `labels` (n,), each image a query among all the others.

        rank(p) = 1 + #{negatives with s >= s_p - 1e-6} + #{other positives ahead of p}

    The query itself is left out by its index, not by its similarity. Everything is float32; for
    other similarities than cosine the 1e-6 is relative (`oodml.metrics.pool.Rows`). `queries` and
    `gallery` are masks (n,) of booleans: who asks, and who is found. Images of other classes in the
    gallery are distractors. `depth` asks for `classes_ahead`. `settings` are those of `Settings`.
    """
    how = Settings(**settings)
    pool = _pool(vectors, labels, queries, gallery, how)
    blocks = list(_stream(pool, how, depth, None))
    if len(blocks) == 1:
        return blocks[0]
    return _joined(blocks)


def rank_stream(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    gallery: ArrayLike | None = None,
    depth: int = 0,
    reach: Reach | None = None,
    **settings: Any,
) -> Iterator[Ranks]:
    """`rank_positives` block by block of queries, where the ranks of all would not fit the budget.

    Metrics are means over queries, so nobody need hold all ranks at once: 70,000 images in 10
    classes have 5e8. `reach(R, N)` (q,) is the largest rank that matters of queries with R
    positives among N others: larger ones, but the best positive's, may be given as N, which spares
    most of the counting.
    """
    how = Settings(**settings)
    return _stream(_pool(vectors, labels, queries, gallery, how), how, depth, reach)


def rank_shard(
    vectors: ArrayLike,
    labels: ArrayLike,
    shard: tuple[int, int],
    *,
    queries: ArrayLike | None = None,
    gallery: ArrayLike | None = None,
    **settings: Any,
) -> PartialRanks:
    """Shard `(i, n)` of the work, i from 0 to n - 1: an n-th of the tiles, for `Ranks.merge`.

    Every shard needs all vectors at hand, which may be a memory map.
    """
    how = Settings(**settings)
    at, count = shard
    if not 0 <= at < count:
        raise ValueError(f"shard is {shard}; expected (i, n) with i from 0 to n - 1.")
    pool = _pool(vectors, labels, queries, gallery, how)
    if not _fits(pool, how):
        raise DataError(
            f"The ranks of {int(pool.positives.sum()):,} positives do not fit {how.budget_mb:g} "
            "MB; shards hold those of all, so give a larger budget_mb, or use rank_stream."
        )
    return _tile_ranks(pool, how, at, count)


def _fits(pool: Pool, how: Settings, bytes_each: int = _BYTES_EACH) -> bool:
    return int(pool.positives.sum()) * bytes_each <= how.budget_mb * 2**20


def _pool(
    vectors: ArrayLike,
    labels: ArrayLike,
    queries: ArrayLike | None,
    gallery: ArrayLike | None,
    how: Settings,
) -> Pool:
    check_device(how.device)
    pool = make_pool(
        vectors,
        labels,
        queries=queries,
        gallery=gallery,
        similarity=how.similarity,
        budget_mb=how.budget_mb,
    )
    if not (pool.positives > 0).any():
        asked = len(np.unique(pool.groups[: pool.asking]))
        raise DataError(
            f"None of the {asked} classes has two images (or a query and a gallery image); "
            "retrieval needs one that has."
        )
    return pool


def _stream(pool: Pool, how: Settings, depth: int, reach: Reach | None) -> Iterator[Ranks]:
    whole = _fits(pool, how)
    counted = whole or (depth == 0 and _fits(pool, how, _COUNT_BYTES))
    if counted and pool.positives.mean() <= MANY_POSITIVES:
        limits = None if reach is None or depth else reach(pool.positives, pool.others)
        part = _tile_ranks(pool, how, limits=limits)
        size = int(pool.positives.sum()) if whole and limits is None else _BLOCK
        for ranks in part.blocks(limits, size):
            yield ranks if depth == 0 else _with_classes_ahead(ranks, pool, how, depth)
        return
    rows = list(wide.query_blocks(pool, how.budget_mb))
    work = partial(_wide_ranks, pool, how, depth)
    for done, block in enumerate(in_threads(work, rows, how.device), start=1):
        if how.progress:
            how.progress(done, len(rows))
        yield block


def _tile_ranks(
    pool: Pool,
    how: Settings,
    at: int = 0,
    count: int = 1,
    limits: NDArray[np.int64] | None = None,
) -> PartialRanks:
    kind = how.device.split(":")[0]
    edge = EDGE if kind == "cpu" else DEVICE_EDGE
    targets = find_targets(pool, how.device)
    counter = find_counter(how.engine, kind, pool.asking * pool.found)
    counts = np.zeros(len(targets.values), np.int32)
    if limits is not None:  # those that do not ask have no values
        limits = np.concatenate([limits, np.zeros(len(pool.order) - pool.asking, np.int64)])
    tally = Tally(pool, targets, counter, how.device, counts, limits)
    pairs = tile_pairs(pool, edge)[at::count]
    for done, _ in enumerate(in_threads(tally.add, pairs, how.device), start=1):
        if how.progress:
            how.progress(done, len(pairs))
    return PartialRanks(at, count, edge, counts, targets.starts, pool)


def _wide_ranks(pool: Pool, how: Settings, depth: int, rows: range) -> Ranks:
    with exact_arithmetic(how.device):
        row = wide.compare(pool, rows, how.device)
        spread = wide.classes_ahead(pool, row, depth) if depth else None
        ranks, lengths, tied = wide.ranks_of(row)
    return _make_ranks(pool, rows, ranks, lengths[lengths > 0], tied[lengths > 0], spread)


def _with_classes_ahead(ranks: Ranks, pool: Pool, how: Settings, depth: int) -> Ranks:
    """The same ranks, with a second pass for the classes, which tiles cut in pieces."""

    def work(rows: range) -> NDArray[np.int32]:
        with exact_arithmetic(how.device):
            spread = wide.classes_ahead(pool, wide.compare(pool, rows, how.device), depth)
        return spread[pool.positives[rows.start : rows.stop] > 0]

    blocks = in_threads(work, wide.query_blocks(pool, how.budget_mb), how.device)
    return replace(ranks, classes_ahead=np.concatenate(list(blocks)))


def _make_ranks(
    pool: Pool,
    rows: range,
    ranks: NDArray[np.int64],
    lengths: NDArray[np.int64],
    tied: NDArray[np.bool_],
    spread: NDArray[np.int32] | None = None,
) -> Ranks:
    """The ranks of a range of the pool's queries, without those that have no positive."""
    has = pool.positives[rows.start : rows.stop] > 0
    asking = np.flatnonzero(has) + rows.start
    return Ranks(
        ranks=ranks,
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        labels=pool.names[pool.groups[asking]],
        queries=pool.order[asking],
        gallery=pool.others[asking],
        tied=tied,
        class_sizes=pool.class_sizes,
        excluded=int((pool.positives == 0).sum()),
        classes_ahead=None if spread is None else spread[has],
    )


def _joined(blocks: Sequence[Ranks]) -> Ranks:
    spread = [block.classes_ahead for block in blocks if block.classes_ahead is not None]
    return Ranks(
        ranks=np.concatenate([block.ranks for block in blocks]),
        starts=np.concatenate([[0], np.cumsum(np.concatenate([b.positives for b in blocks]))]),
        labels=np.concatenate([block.labels for block in blocks]),
        queries=np.concatenate([block.queries for block in blocks]),
        gallery=np.concatenate([block.gallery for block in blocks]),
        tied=np.concatenate([block.tied for block in blocks]),
        class_sizes=blocks[0].class_sizes,
        excluded=blocks[0].excluded,
        classes_ahead=np.concatenate(spread) if spread else None,
    )
